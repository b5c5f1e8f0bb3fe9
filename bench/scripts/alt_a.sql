\set n random(1, :subjects)
SELECT public.alt_a(('01900000-0000-7000-8000-' || lpad(to_hex(:n::int), 12, '0'))::uuid);

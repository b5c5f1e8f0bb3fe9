\set i :i + 1
\set n random(1, :subjects)
SELECT pii, generation, access_id FROM identity.pii_resolve(('01900000-0000-7000-8000-' || lpad(to_hex(:n::int), 12, '0'))::uuid, 'bench_resolving', ARRAY['name']);
\if :i = :first or :i = :last
SELECT pg_backend_pid() AS pid \gset
\shell :sampler :pid :i :samples
\endif

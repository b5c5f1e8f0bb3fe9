\set n random(1, :blocks)
SELECT candidate_id, status, pii, generation, access_id FROM identity.pii_resolve_many((SELECT ids FROM public.bench_blocks WHERE n = :n), 'bench_resolving', ARRAY['name']);

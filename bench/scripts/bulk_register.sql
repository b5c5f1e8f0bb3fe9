\set n random(1, :blocks)
SELECT ordinal, candidate_id FROM identity.pii_register_many('bench_register', (SELECT records FROM public.bench_blocks WHERE n = :n));

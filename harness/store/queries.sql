-- Version 6: what single queries found, and a map of the embeddings, both from the workload.
-- A workload may have filled tables of these names before they were declared; what it wrote is
-- still in its files, from which `harness rebuild` takes what fits.
DROP TABLE IF EXISTS queries;
DROP TABLE IF EXISTS projection;
DROP TABLE IF EXISTS classes;

CREATE TABLE queries (
    run_id              VARCHAR NOT NULL,
    image               BIGINT NOT NULL,
    file                VARCHAR,
    label               VARCHAR NOT NULL,
    dropped             BOOLEAN NOT NULL,
    first_hit           BIGINT,
    neighbours          BIGINT[],
    neighbour_labels    VARCHAR[],
    similarities        DOUBLE[],
    picture             VARCHAR,
    neighbour_pictures  VARCHAR[]
);
COMMENT ON TABLE queries IS
    'What each query of the test classes found in a finished run, from the workload.';
COMMENT ON COLUMN queries.run_id IS 'The run.';
COMMENT ON COLUMN queries.image IS 'Index of the query among the test images.';
COMMENT ON COLUMN queries.file IS 'Its file, as a path below the folder of the data.';
COMMENT ON COLUMN queries.label IS 'Its class.';
COMMENT ON COLUMN queries.dropped IS
    'Whether it does not count, since no other image (or no gallery image) has its class.';
COMMENT ON COLUMN queries.first_hit IS
    'Rank, from 1, of the first image of its class; null where it is dropped or never finds one.';
COMMENT ON COLUMN queries.neighbours IS 'Indices of the nearest images, best first.';
COMMENT ON COLUMN queries.neighbour_labels IS 'Their classes.';
COMMENT ON COLUMN queries.similarities IS
    'How near they are: cosine, or less the distance; four decimals.';
COMMENT ON COLUMN queries.picture IS
    'A small picture, as a path below the run''s work folder, of the few queries that have one.';
COMMENT ON COLUMN queries.neighbour_pictures IS 'Those of the nearest images, likewise.';

CREATE TABLE projection (
    run_id   VARCHAR NOT NULL,
    image    BIGINT NOT NULL,
    file     VARCHAR,
    label    VARCHAR NOT NULL,
    x        DOUBLE NOT NULL,
    y        DOUBLE NOT NULL,
    picture  VARCHAR
);
COMMENT ON TABLE projection IS
    'Embeddings of a sample of test images of a finished run in two dimensions, from the workload.';
COMMENT ON COLUMN projection.run_id IS 'The run.';
COMMENT ON COLUMN projection.image IS 'Index among the test images.';
COMMENT ON COLUMN projection.file IS 'Its file, as a path below the folder of the data.';
COMMENT ON COLUMN projection.label IS 'Its class.';
COMMENT ON COLUMN projection.x IS 'First coordinate: that of the larger spread.';
COMMENT ON COLUMN projection.y IS 'Second coordinate.';
COMMENT ON COLUMN projection.picture IS
    'A small picture, as a path below the run''s work folder.';

CREATE VIEW classes AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, run_id, queries.label,
    count(*) FILTER (NOT queries.dropped) AS queries,
    count(*) FILTER (queries.first_hit = 1) / count(*) FILTER (NOT queries.dropped) AS recall
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
JOIN queries USING (run_id)
WHERE run.state = 'done' AND trial.pruned IS NULL
GROUP BY ALL
HAVING count(*) FILTER (NOT queries.dropped) > 0
ORDER BY trial.study, trial.number, member.seed, queries.label;
COMMENT ON VIEW classes IS
    'Recall@1 of each test class in each finished run, over the queries of the class that count.';

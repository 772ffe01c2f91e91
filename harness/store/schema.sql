-- The results database, version 1. Every change after a release is a numbered migration.
-- Read it with `harness sql` or any DuckDB client; the comments below are in the database too.

CREATE TABLE meta (
    key          VARCHAR PRIMARY KEY,
    value        VARCHAR NOT NULL
);
COMMENT ON TABLE meta IS 'What this file is.';
COMMENT ON COLUMN meta.key IS 'schema_version: the number of the last migration applied.';
COMMENT ON COLUMN meta.value IS 'As text.';

CREATE TABLE study (
    study        VARCHAR PRIMARY KEY,
    question     VARCHAR NOT NULL,
    metric       VARCHAR NOT NULL,
    sampler      VARCHAR NOT NULL,
    spec         JSON NOT NULL,
    fingerprint  VARCHAR NOT NULL,
    created      TIMESTAMP NOT NULL,
    updated      TIMESTAMP NOT NULL,
    command      VARCHAR NOT NULL,
    versions     JSON NOT NULL
);
COMMENT ON TABLE study IS 'One study file: one question.';
COMMENT ON COLUMN study.study IS 'Its name.';
COMMENT ON COLUMN study.question IS 'The sentence that its report has to answer.';
COMMENT ON COLUMN study.metric IS 'The primary metric, maximised: recall@K or a score name.';
COMMENT ON COLUMN study.sampler IS 'What proposed the trials; grid: all were fixed beforehand.';
COMMENT ON COLUMN study.spec IS 'The study file as it was understood.';
COMMENT ON COLUMN study.fingerprint IS 'Twelve hex digits of the spec.';
COMMENT ON COLUMN study.created IS 'First planned, UTC.';
COMMENT ON COLUMN study.updated IS 'Last planned, UTC.';
COMMENT ON COLUMN study.command IS 'The command line that last ran it.';
COMMENT ON COLUMN study.versions IS 'Distribution to version, where it was planned.';

CREATE TABLE trial (
    trial_id     VARCHAR PRIMARY KEY,
    study        VARCHAR NOT NULL,
    number       INTEGER NOT NULL,
    label        VARCHAR NOT NULL,
    phase        VARCHAR NOT NULL,
    role         VARCHAR NOT NULL,
    variant      VARCHAR,
    varied       JSON NOT NULL,
    params       JSON NOT NULL,
    is_baseline  BOOLEAN NOT NULL
);
COMMENT ON TABLE trial IS 'One parameter setting of a study.';
COMMENT ON COLUMN trial.trial_id IS 'Digest of study, phase and parameters.';
COMMENT ON COLUMN trial.study IS 'The study it belongs to.';
COMMENT ON COLUMN trial.number IS 'Position in the study, from 0; controls come last.';
COMMENT ON COLUMN trial.label IS 'What tables call it; the views name it trial.';
COMMENT ON COLUMN trial.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN trial.role IS 'trial, baseline or control.';
COMMENT ON COLUMN trial.variant IS 'Name of the variant, where the study has variants.';
COMMENT ON COLUMN trial.varied IS 'Dotted key to value, for what differs between trials.';
COMMENT ON COLUMN trial.params IS 'All parameters, defaults filled in.';
COMMENT ON COLUMN trial.is_baseline IS 'Whether the others are compared with it.';

CREATE TABLE member (
    trial_id     VARCHAR NOT NULL,
    seed         BIGINT NOT NULL,
    run_id       VARCHAR NOT NULL,
    PRIMARY KEY (trial_id, seed)
);
COMMENT ON TABLE member IS 'Which run answers for a trial and seed; a run can serve several.';
COMMENT ON COLUMN member.trial_id IS 'The trial.';
COMMENT ON COLUMN member.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN member.run_id IS 'The run; it has no row in run before it starts.';

CREATE TABLE run (
    run_id       VARCHAR PRIMARY KEY,
    workload     VARCHAR NOT NULL,
    seed         BIGINT NOT NULL,
    test         BOOLEAN NOT NULL,
    state        VARCHAR NOT NULL,
    failure      VARCHAR,
    message      VARCHAR,
    attempts     INTEGER NOT NULL,
    started      TIMESTAMP,
    finished     TIMESTAMP,
    seconds      DOUBLE,
    peak_mib     DOUBLE,
    host         VARCHAR,
    threads      INTEGER,
    facts        JSON,
    code         VARCHAR NOT NULL,
    data         VARCHAR NOT NULL,
    git_commit   VARCHAR,
    dirty        BOOLEAN,
    versions     JSON,
    params       JSON NOT NULL,
    stderr       VARCHAR
);
COMMENT ON TABLE run IS 'One trial with one seed, trained once, whichever studies ask for it.';
COMMENT ON COLUMN run.run_id IS 'Digest of workload, params, seed, test, code and data.';
COMMENT ON COLUMN run.workload IS 'The module that was run.';
COMMENT ON COLUMN run.seed IS 'What all its randomness comes from.';
COMMENT ON COLUMN run.test IS 'Whether the test classes were opened.';
COMMENT ON COLUMN run.state IS 'running, done or failed.';
COMMENT ON COLUMN run.failure IS
    'Of a failed run: diverged, collapsed, oom, crash, timeout, stalled or invalid.';
COMMENT ON COLUMN run.message IS 'Of a failed run: why, in a line.';
COMMENT ON COLUMN run.attempts IS 'How often it was started.';
COMMENT ON COLUMN run.started IS 'Start of the newest attempt, UTC.';
COMMENT ON COLUMN run.finished IS 'End of the newest attempt, UTC.';
COMMENT ON COLUMN run.seconds IS 'Wall time of the newest attempt.';
COMMENT ON COLUMN run.peak_mib IS 'Largest resident memory of the worker, MiB.';
COMMENT ON COLUMN run.host IS 'The machine.';
COMMENT ON COLUMN run.threads IS 'Processor threads it was given.';
COMMENT ON COLUMN run.facts IS 'What the workload found worth recording: device, number format.';
COMMENT ON COLUMN run.code IS 'Digest of the workload''s code, comments left out.';
COMMENT ON COLUMN run.data IS 'Digest of the data.';
COMMENT ON COLUMN run.git_commit IS 'Commit of the code, where it lies in a repository.';
COMMENT ON COLUMN run.dirty IS 'Whether tracked files differed from that commit.';
COMMENT ON COLUMN run.versions IS 'Distribution to version.';
COMMENT ON COLUMN run.params IS 'All parameters, defaults filled in.';
COMMENT ON COLUMN run.stderr IS 'Of a failed run: the last lines it printed.';

CREATE TABLE epoch (
    run_id       VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    name         VARCHAR NOT NULL,
    value        DOUBLE NOT NULL,
    attempt      INTEGER NOT NULL,
    PRIMARY KEY (run_id, epoch, name)
);
COMMENT ON TABLE epoch IS 'What a run reported after each epoch; finite numbers only.';
COMMENT ON COLUMN epoch.run_id IS 'The run.';
COMMENT ON COLUMN epoch.epoch IS 'As the workload counts.';
COMMENT ON COLUMN epoch.name IS 'loss, learning_rate, val/recall@1, ...';
COMMENT ON COLUMN epoch.value IS 'Its value.';
COMMENT ON COLUMN epoch.attempt IS
    'The attempt that reported it; one that goes on from a checkpoint keeps what came before.';

CREATE TABLE recall (
    run_id       VARCHAR NOT NULL,
    split        VARCHAR NOT NULL,
    k            INTEGER NOT NULL,
    recall       DOUBLE NOT NULL,
    queries      BIGINT,
    dropped      BIGINT,
    PRIMARY KEY (run_id, split, k)
);
COMMENT ON TABLE recall IS 'Recall@K of finished runs.';
COMMENT ON COLUMN recall.run_id IS 'The run.';
COMMENT ON COLUMN recall.split IS 'The classes scored: val, test or what the workload names.';
COMMENT ON COLUMN recall.k IS 'Neighbours looked at.';
COMMENT ON COLUMN recall.recall IS 'Share of queries with their class among those neighbours.';
COMMENT ON COLUMN recall.queries IS 'Queries counted.';
COMMENT ON COLUMN recall.dropped IS 'Queries left out: no other image of their class.';

CREATE TABLE score (
    run_id       VARCHAR NOT NULL,
    split        VARCHAR NOT NULL,
    name         VARCHAR NOT NULL,
    value        DOUBLE NOT NULL,
    PRIMARY KEY (run_id, split, name)
);
COMMENT ON TABLE score IS 'All other results of finished runs; finite numbers only.';
COMMENT ON COLUMN score.run_id IS 'The run.';
COMMENT ON COLUMN score.split IS 'The classes scored; empty where the result names none.';
COMMENT ON COLUMN score.name IS 'nmi, map@r, ...';
COMMENT ON COLUMN score.value IS 'Its value.';

CREATE TABLE clusters (
    run_id       VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    cluster      INTEGER NOT NULL,
    size         BIGINT NOT NULL,
    purity       DOUBLE,
    "group"      INTEGER
);
COMMENT ON TABLE clusters IS 'The clusters of each epoch of finished runs, from the workload.';
COMMENT ON COLUMN clusters.run_id IS 'The run.';
COMMENT ON COLUMN clusters.epoch IS 'As the workload counts.';
COMMENT ON COLUMN clusters.cluster IS 'Index in its epoch.';
COMMENT ON COLUMN clusters.size IS 'Images in it.';
COMMENT ON COLUMN clusters.purity IS 'Share of its most frequent true class (a diagnostic).';
COMMENT ON COLUMN clusters."group" IS 'The group of clusters of similar size it is in.';

CREATE TABLE comparison (
    study             VARCHAR NOT NULL,
    trial_id          VARCHAR NOT NULL,
    split             VARCHAR NOT NULL,
    metric            VARCHAR NOT NULL,
    n                 INTEGER NOT NULL,
    difference        DOUBLE NOT NULL,
    low               DOUBLE,
    high              DOUBLE,
    p                 DOUBLE NOT NULL,
    p_holm            DOUBLE NOT NULL,
    prob_improvement  DOUBLE NOT NULL,
    exploratory       BOOLEAN NOT NULL,
    PRIMARY KEY (trial_id, split, metric)
);
COMMENT ON TABLE comparison IS 'Each trial against its baseline, paired by seed; computed.';
COMMENT ON COLUMN comparison.study IS 'The study.';
COMMENT ON COLUMN comparison.trial_id IS 'The trial that is compared.';
COMMENT ON COLUMN comparison.split IS 'As in recall and score.';
COMMENT ON COLUMN comparison.metric IS 'recall@K or the name of a score.';
COMMENT ON COLUMN comparison.n IS 'Seeds that both have finished.';
COMMENT ON COLUMN comparison.difference IS 'Mean of trial minus baseline.';
COMMENT ON COLUMN comparison.low IS '95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN comparison.high IS '95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN comparison.p IS 'Two-sided exact sign-flip p; never below 2 / 2**n.';
COMMENT ON COLUMN comparison.p_holm IS 'p adjusted for all trials compared on this metric, controls apart.';
COMMENT ON COLUMN comparison.prob_improvement IS 'Share of seeds won; a tie counts half.';
COMMENT ON COLUMN comparison.exploratory IS 'Too few seeds (below 6) for any verdict.';

CREATE TABLE t_quantile (
    df           INTEGER PRIMARY KEY,
    value        DOUBLE NOT NULL
);
COMMENT ON TABLE t_quantile IS 'Student''s t, 97.5 %: half a 95 % interval in standard errors.';
COMMENT ON COLUMN t_quantile.df IS 'Degrees of freedom; beyond the last row its value serves.';
COMMENT ON COLUMN t_quantile.value IS 'The quantile.';

-- Views. Non-finite numbers are left out once, in results, and aggregates are taken in the order
-- of seeds, so that the same runs give the same bits.

CREATE VIEW results AS
SELECT
    trial.study, trial.label AS trial, trial.trial_id, trial.number, trial.phase, trial.role,
    trial.is_baseline, member.seed, member.run_id, result.split, result.name, result.value
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
JOIN (
    SELECT run_id, split, 'recall@' || k AS name, recall AS value FROM recall
    UNION ALL
    SELECT run_id, split, name, value FROM score
) AS result USING (run_id)
WHERE run.state = 'done' AND isfinite(result.value);
COMMENT ON VIEW results IS 'Every finite result of every finished run of every study.';

CREATE VIEW summary AS
WITH spread AS (
    SELECT
        study, trial, trial_id, number, phase, role, is_baseline, split,
        CAST(substr(name, 8) AS INTEGER) AS k,
        avg(value ORDER BY seed) AS mean,
        stddev_samp(value ORDER BY seed) AS sd,
        count(*) AS n
    FROM results
    WHERE regexp_full_match(name, 'recall@[0-9]+')
    GROUP BY ALL
)
SELECT
    study, trial, trial_id, number, phase, role, is_baseline, split, k, mean, sd,
    mean - t_quantile.value * sd / sqrt(n) AS low,
    mean + t_quantile.value * sd / sqrt(n) AS high,
    n
FROM spread
LEFT JOIN t_quantile ON t_quantile.df = least(n - 1, (SELECT max(df) FROM t_quantile))
ORDER BY study, number, split, k;
COMMENT ON VIEW summary IS
    'Recall@K of each trial: mean, standard deviation and 95 % t-interval over finished seeds.';

CREATE VIEW trials AS
WITH spread AS (
    SELECT
        results.trial_id,
        avg(value ORDER BY seed) AS mean,
        stddev_samp(value ORDER BY seed) AS sd,
        count(*) AS n
    FROM results
    JOIN study USING (study)
    WHERE name = metric AND split = CASE phase WHEN 'confirm' THEN 'test' ELSE 'val' END
    GROUP BY results.trial_id
),
progress AS (
    SELECT
        trial_id,
        count(*) AS planned,
        count(*) FILTER (state = 'done') AS done,
        count(*) FILTER (state = 'failed') AS failed
    FROM member
    LEFT JOIN run USING (run_id)
    GROUP BY trial_id
),
setting AS (
    SELECT
        trial_id,
        array_to_string(
            list_transform(
                json_keys(varied),
                lambda key: key || '=' || coalesce(json_extract_string(varied, key), 'null')
            ),
            ', '
        ) AS settings
    FROM trial
)
SELECT
    trial.study, trial.number, trial.label AS trial, trial_id, trial.phase, trial.role,
    trial.is_baseline, trial.variant, CAST(trial.varied AS VARCHAR) AS varied, setting.settings,
    study.metric,
    CASE trial.phase WHEN 'confirm' THEN 'test' ELSE 'val' END AS split,
    spread.mean,
    spread.sd,
    spread.mean - t_quantile.value * spread.sd / sqrt(spread.n) AS low,
    spread.mean + t_quantile.value * spread.sd / sqrt(spread.n) AS high,
    coalesce(progress.done, 0) AS seeds_done,
    coalesce(progress.planned, 0) AS seeds_planned,
    coalesce(progress.failed, 0) AS seeds_failed
FROM trial
JOIN study USING (study)
JOIN setting USING (trial_id)
LEFT JOIN spread USING (trial_id)
LEFT JOIN progress USING (trial_id)
LEFT JOIN t_quantile ON t_quantile.df = least(spread.n - 1, (SELECT max(df) FROM t_quantile))
ORDER BY trial.study, trial.number;
COMMENT ON VIEW trials IS
    'Each trial: its settings, and the primary metric on its decisive split over finished seeds.';

CREATE VIEW leaderboard AS
SELECT
    study,
    row_number() OVER (
        PARTITION BY study
        ORDER BY mean IS NULL OR seeds_done < seeds_planned, mean DESC NULLS LAST, number
    ) AS rank,
    seeds_done = seeds_planned AS is_complete,
    trials.* EXCLUDE (study)
FROM trials
ORDER BY study, rank;
COMMENT ON VIEW leaderboard IS
    'The trials of each study, best first; those with seeds missing come last, whatever their mean.';

CREATE VIEW comparisons AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, comparison.split,
    comparison.metric, comparison.n, comparison.difference, comparison.low, comparison.high,
    comparison.p, comparison.p_holm, comparison.prob_improvement, comparison.exploratory
FROM comparison
JOIN trial USING (trial_id)
ORDER BY trial.study, trial.number, comparison.split, comparison.metric;
COMMENT ON VIEW comparisons IS
    'Each trial against its baseline, paired by seed: difference, interval, exact p, Holm p.';

CREATE VIEW curves AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, epoch.epoch,
    epoch.name, epoch.value
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
JOIN epoch USING (run_id)
WHERE run.state = 'done' AND isfinite(epoch.value)
ORDER BY trial.study, trial.number, member.seed, epoch.epoch, epoch.name;
COMMENT ON VIEW curves IS 'What finished runs reported, epoch by epoch, by trial and seed.';

CREATE VIEW failures AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, run_id, run.failure,
    run.message, run.attempts, run.stderr
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
WHERE run.state = 'failed'
ORDER BY trial.study, trial.number, member.seed;
COMMENT ON VIEW failures IS 'Runs that failed for good or wait for their next attempt, and why.';

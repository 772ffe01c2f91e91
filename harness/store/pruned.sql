-- Version 3: trials that a search has given up, and runs that it stopped early or spared.

ALTER TABLE trial ADD COLUMN pruned VARCHAR;
COMMENT ON COLUMN trial.pruned IS 'Why a search gave it up, in a line; null if it did not.';
ALTER TABLE member ADD COLUMN is_pruned BOOLEAN DEFAULT false;
COMMENT ON COLUMN member.is_pruned IS
    'Whether the study stopped this run early, or spared it when it gave its trial up.';
COMMENT ON COLUMN run.state IS 'running, done, failed or pruned: stopped early by a search.';
COMMENT ON COLUMN run.message IS 'Of a failed or pruned run: why, in a line.';

CREATE OR REPLACE VIEW results AS
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
WHERE run.state = 'done' AND trial.pruned IS NULL AND isfinite(result.value);
COMMENT ON VIEW results IS
    'Every finite result of every finished run of every study, but of trials that were pruned.';

CREATE OR REPLACE VIEW trials AS
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
        count(*) FILTER (state = 'done' AND NOT is_pruned) AS done,
        count(*) FILTER (state = 'failed' AND NOT is_pruned) AS failed,
        count(*) FILTER (is_pruned) AS pruned
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
    coalesce(progress.failed, 0) AS seeds_failed,
    coalesce(progress.pruned, 0) AS seeds_pruned,
    trial.pruned
FROM trial
JOIN study USING (study)
JOIN setting USING (trial_id)
LEFT JOIN spread USING (trial_id)
LEFT JOIN progress USING (trial_id)
LEFT JOIN t_quantile ON t_quantile.df = least(spread.n - 1, (SELECT max(df) FROM t_quantile))
ORDER BY trial.study, trial.number;
COMMENT ON VIEW trials IS
    'Each trial: its settings, and the primary metric on its decisive split over finished seeds.';

CREATE OR REPLACE VIEW leaderboard AS
SELECT
    study,
    row_number() OVER (
        PARTITION BY study
        ORDER BY mean IS NULL OR seeds_done < seeds_planned, mean DESC NULLS LAST, number
    ) AS rank,
    seeds_done = seeds_planned AS is_complete,
    trials.* EXCLUDE (study)
FROM trials
WHERE pruned IS NULL
ORDER BY study, rank;
COMMENT ON VIEW leaderboard IS
    'The trials of each study, best first; those with seeds missing come last, whatever their mean.';

CREATE OR REPLACE VIEW curves AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, epoch.epoch,
    epoch.name, epoch.value
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
JOIN epoch USING (run_id)
WHERE run.state = 'done' AND trial.pruned IS NULL AND isfinite(epoch.value)
ORDER BY trial.study, trial.number, member.seed, epoch.epoch, epoch.name;
COMMENT ON VIEW curves IS 'What finished runs reported, epoch by epoch, by trial and seed.';

CREATE OR REPLACE VIEW failures AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, run_id, run.failure,
    run.message, run.attempts, run.stderr
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
WHERE run.state = 'failed' AND NOT member.is_pruned
ORDER BY trial.study, trial.number, member.seed;
COMMENT ON VIEW failures IS 'Runs that failed for good or wait for their next attempt, and why.';

CREATE VIEW pruned AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, trial.pruned AS reason,
    count(*) FILTER (NOT is_pruned) AS seeds_done,
    count(*) FILTER (is_pruned) AS seeds_pruned
FROM trial
JOIN member USING (trial_id)
WHERE trial.pruned IS NOT NULL
GROUP BY ALL
ORDER BY trial.study, trial.number;
COMMENT ON VIEW pruned IS 'Trials that a search has given up, why, and after how many seeds.';

-- Version 5: confirmed trials of images without classes, which only validation can score.

CREATE OR REPLACE VIEW trials AS
WITH measured AS (
    SELECT
        trial_id, seed, split, value,
        -- 'test' comes before 'val'; images without classes have no test score.
        split = min(split) OVER (PARTITION BY results.trial_id) AS is_decisive
    FROM results
    JOIN study USING (study)
    WHERE
        name = regexp_replace(metric, '^.*/', '')
        AND (split = 'val' OR split = 'test' AND phase = 'confirm')
),
spread AS (
    SELECT
        trial_id,
        any_value(split) AS split,
        avg(value ORDER BY seed) AS mean,
        stddev_samp(value ORDER BY seed) AS sd,
        count(*) AS n
    FROM measured
    WHERE is_decisive
    GROUP BY trial_id
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
    coalesce(spread.split, CASE trial.phase WHEN 'confirm' THEN 'test' ELSE 'val' END) AS split,
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

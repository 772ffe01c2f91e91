-- The views of the results database. They hold no rows, so they need no migration: if those of a
-- database differ from these, all are re-created.
-- Query them with `harness sql` or any DuckDB client; COMMENT texts are stored in the database.

-- Non-finite numbers are filtered in one place, the view results. Aggregates run in order of seed,
-- so that the same runs give bit-identical results.

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
COMMENT ON COLUMN results.study IS 'The study.';
COMMENT ON COLUMN results.trial IS 'The label of the trial.';
COMMENT ON COLUMN results.trial_id IS 'The trial.';
COMMENT ON COLUMN results.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN results.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN results.role IS 'trial, baseline or control.';
COMMENT ON COLUMN results.is_baseline IS 'Whether the others are compared with it.';
COMMENT ON COLUMN results.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN results.run_id IS 'The run.';
COMMENT ON COLUMN results.split IS 'The classes scored: val, test or what the workload names.';
COMMENT ON COLUMN results.name IS 'Of the result: recall@K, nmi, map@r, ...';
COMMENT ON COLUMN results.value IS 'Its value.';

CREATE OR REPLACE VIEW summary AS
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
COMMENT ON COLUMN summary.study IS 'The study.';
COMMENT ON COLUMN summary.trial IS 'The label of the trial.';
COMMENT ON COLUMN summary.trial_id IS 'The trial.';
COMMENT ON COLUMN summary.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN summary.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN summary.role IS 'trial, baseline or control.';
COMMENT ON COLUMN summary.is_baseline IS 'Whether the others are compared with it.';
COMMENT ON COLUMN summary.split IS 'The classes scored: val, test or what the workload names.';
COMMENT ON COLUMN summary.k IS 'Neighbours looked at.';
COMMENT ON COLUMN summary.mean IS 'Over finished seeds.';
COMMENT ON COLUMN summary.sd IS 'Standard deviation over finished seeds (n - 1); null at one seed.';
COMMENT ON COLUMN summary.low IS 'Lower end of the 95 % t-interval of the mean; null at one seed.';
COMMENT ON COLUMN summary.high IS 'Upper end of the 95 % t-interval of the mean; null at one seed.';
COMMENT ON COLUMN summary.n IS 'Seeds that are finished.';

CREATE OR REPLACE VIEW trials AS
WITH measured AS (
    SELECT
        trial_id, seed, split, value,
        -- min() prefers 'test' to 'val'; images without classes have no test score.
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
COMMENT ON COLUMN trials.study IS 'The study.';
COMMENT ON COLUMN trials.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN trials.trial IS 'The label of the trial.';
COMMENT ON COLUMN trials.trial_id IS 'The trial.';
COMMENT ON COLUMN trials.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN trials.role IS 'trial, baseline or control.';
COMMENT ON COLUMN trials.is_baseline IS 'Whether the others are compared with it.';
COMMENT ON COLUMN trials.variant IS 'Name of the variant, where the study has variants.';
COMMENT ON COLUMN trials.varied IS
    'Dotted key to value, for what differs between trials, as JSON text.';
COMMENT ON COLUMN trials.settings IS 'What it varies, as text: key=value, key=value.';
COMMENT ON COLUMN trials.metric IS 'The primary metric of the study.';
COMMENT ON COLUMN trials.split IS 'The classes that decide: test for confirmed trials, else val.';
COMMENT ON COLUMN trials.mean IS 'Over finished seeds.';
COMMENT ON COLUMN trials.sd IS 'Standard deviation over finished seeds (n - 1); null at one seed.';
COMMENT ON COLUMN trials.low IS 'Lower end of the 95 % t-interval of the mean; null at one seed.';
COMMENT ON COLUMN trials.high IS 'Upper end of the 95 % t-interval of the mean; null at one seed.';
COMMENT ON COLUMN trials.seeds_done IS 'Seeds that are finished.';
COMMENT ON COLUMN trials.seeds_planned IS 'Seeds that the study asks for.';
COMMENT ON COLUMN trials.seeds_failed IS 'Seeds whose run failed.';
COMMENT ON COLUMN trials.seeds_pruned IS 'Seeds that a search stopped early or spared.';
COMMENT ON COLUMN trials.pruned IS 'Why a search gave it up, in a line; null if it did not.';

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
COMMENT ON COLUMN leaderboard.study IS 'The study.';
COMMENT ON COLUMN leaderboard.rank IS 'From 1, within the study.';
COMMENT ON COLUMN leaderboard.is_complete IS 'Whether all its seeds are finished.';
COMMENT ON COLUMN leaderboard.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN leaderboard.trial IS 'The label of the trial.';
COMMENT ON COLUMN leaderboard.trial_id IS 'The trial.';
COMMENT ON COLUMN leaderboard.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN leaderboard.role IS 'trial, baseline or control.';
COMMENT ON COLUMN leaderboard.is_baseline IS 'Whether the others are compared with it.';
COMMENT ON COLUMN leaderboard.variant IS 'Name of the variant, where the study has variants.';
COMMENT ON COLUMN leaderboard.varied IS
    'Dotted key to value, for what differs between trials, as JSON text.';
COMMENT ON COLUMN leaderboard.settings IS 'What it varies, as text: key=value, key=value.';
COMMENT ON COLUMN leaderboard.metric IS 'The primary metric of the study.';
COMMENT ON COLUMN leaderboard.split IS
    'The classes that decide: test for confirmed trials, else val.';
COMMENT ON COLUMN leaderboard.mean IS 'Over finished seeds.';
COMMENT ON COLUMN leaderboard.sd IS
    'Standard deviation over finished seeds (n - 1); null at one seed.';
COMMENT ON COLUMN leaderboard.low IS
    'Lower end of the 95 % t-interval of the mean; null at one seed.';
COMMENT ON COLUMN leaderboard.high IS
    'Upper end of the 95 % t-interval of the mean; null at one seed.';
COMMENT ON COLUMN leaderboard.seeds_done IS 'Seeds that are finished.';
COMMENT ON COLUMN leaderboard.seeds_planned IS 'Seeds that the study asks for.';
COMMENT ON COLUMN leaderboard.seeds_failed IS 'Seeds whose run failed.';
COMMENT ON COLUMN leaderboard.seeds_pruned IS 'Seeds that a search stopped early or spared.';
COMMENT ON COLUMN leaderboard.pruned IS 'Why a search gave it up, in a line; null if it did not.';

CREATE OR REPLACE VIEW comparisons AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, comparison.split,
    comparison.metric, comparison.n, comparison.difference, comparison.low,
    comparison.high, comparison.p, comparison.p_error, comparison.p_holm,
    comparison.prob_improvement, comparison.exploratory
FROM comparison
JOIN trial USING (trial_id)
ORDER BY trial.study, trial.number, comparison.split, comparison.metric;
COMMENT ON VIEW comparisons IS
    'Each trial against its baseline, paired by seed: difference, interval, exact p, Holm p.';
COMMENT ON COLUMN comparisons.study IS 'The study.';
COMMENT ON COLUMN comparisons.trial IS 'The label of the trial.';
COMMENT ON COLUMN comparisons.trial_id IS 'The trial.';
COMMENT ON COLUMN comparisons.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN comparisons.split IS 'The classes scored: val, test or what the workload names.';
COMMENT ON COLUMN comparisons.metric IS 'recall@K or the name of a score.';
COMMENT ON COLUMN comparisons.n IS 'Seeds that both have finished.';
COMMENT ON COLUMN comparisons.difference IS 'Mean of trial minus baseline.';
COMMENT ON COLUMN comparisons.low IS 'Lower end of the 95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN comparisons.high IS 'Upper end of the 95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN comparisons.p IS 'Two-sided exact sign-flip p; never below 2 / 2**n.';
COMMENT ON COLUMN comparisons.p_error IS
    'Standard error of p: 0 up to 20 seeds, where it is exact; beyond, it is sampled.';
COMMENT ON COLUMN comparisons.p_holm IS
    'p adjusted for all trials compared on this metric, controls apart.';
COMMENT ON COLUMN comparisons.prob_improvement IS 'Share of seeds won; a tie counts half.';
COMMENT ON COLUMN comparisons.exploratory IS 'Too few seeds (below 6) for any verdict.';

CREATE OR REPLACE VIEW evidence AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, look.seeds,
    CAST(study.spec -> 'stop' ->> 'most_seeds' AS INTEGER) AS most_seeds, look.difference,
    look.low, look.high, look.statistic, look.boundary, look.decision,
    look.seeds = max(look.seeds) OVER (PARTITION BY trial_id) AS is_last
FROM look
JOIN trial USING (trial_id)
JOIN study ON study.study = trial.study
ORDER BY trial.study, trial.number, look.seeds;
COMMENT ON VIEW evidence IS
    'Each look of a study with stop: evidence for a difference from the baseline, and what it decided.';
COMMENT ON COLUMN evidence.study IS 'The study.';
COMMENT ON COLUMN evidence.trial IS 'The label of the trial.';
COMMENT ON COLUMN evidence.trial_id IS 'The trial.';
COMMENT ON COLUMN evidence.number IS 'Position of the trial in the study, from 0.';
COMMENT ON COLUMN evidence.seeds IS 'Seeds that the look used: the first of the study.';
COMMENT ON COLUMN evidence.most_seeds IS 'Seeds that an undecided trial can get.';
COMMENT ON COLUMN evidence.difference IS 'Mean of trial minus baseline over these seeds.';
COMMENT ON COLUMN evidence.low IS
    'Lower end of the repeated confidence interval, at the last look of the trial; null if open.';
COMMENT ON COLUMN evidence.high IS
    'Upper end of the repeated confidence interval, at the last look of the trial; null if open.';
COMMENT ON COLUMN evidence.statistic IS
    'Absolute mean difference; for an e-process, the evidence.';
COMMENT ON COLUMN evidence.boundary IS
    'What the statistic must reach; null if nothing could be shown yet.';
COMMENT ON COLUMN evidence.decision IS 'What was decided, or: goes on.';
COMMENT ON COLUMN evidence.is_last IS 'Whether it is the newest look at the trial.';

CREATE OR REPLACE VIEW control_comparisons AS
SELECT
    trial.study, trial.label AS trial, trial.trial_id, trial.number, control.label AS control,
    comparison.control_id, comparison.split, comparison.metric, comparison.n,
    comparison.difference, comparison.low, comparison.high, comparison.p, comparison.p_error,
    comparison.p_holm, comparison.prob_improvement, comparison.exploratory
FROM control_comparison AS comparison
JOIN trial ON trial.trial_id = comparison.trial_id
JOIN trial AS control ON control.trial_id = comparison.control_id
ORDER BY trial.study, control.number, trial.number, comparison.split;
COMMENT ON VIEW control_comparisons IS
    'Each trial against each control of its study, by the study''s metric, paired by seed.';
COMMENT ON COLUMN control_comparisons.study IS 'The study.';
COMMENT ON COLUMN control_comparisons.trial IS 'The label of the trial.';
COMMENT ON COLUMN control_comparisons.trial_id IS 'The trial.';
COMMENT ON COLUMN control_comparisons.number IS 'Position of the trial in the study, from 0.';
COMMENT ON COLUMN control_comparisons.control IS 'The label of the control.';
COMMENT ON COLUMN control_comparisons.control_id IS 'The control.';
COMMENT ON COLUMN control_comparisons.split IS
    'The classes scored: val, test or what the workload names.';
COMMENT ON COLUMN control_comparisons.metric IS 'The metric of the study.';
COMMENT ON COLUMN control_comparisons.n IS 'Seeds that both have finished.';
COMMENT ON COLUMN control_comparisons.difference IS 'Mean of trial minus control.';
COMMENT ON COLUMN control_comparisons.low IS
    'Lower end of the 95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN control_comparisons.high IS
    'Upper end of the 95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN control_comparisons.p IS 'Two-sided exact sign-flip p; never below 2 / 2**n.';
COMMENT ON COLUMN control_comparisons.p_error IS
    'Standard error of p: 0 up to 20 seeds, where it is exact; beyond, it is sampled.';
COMMENT ON COLUMN control_comparisons.p_holm IS
    'p adjusted for all trials compared with this control.';
COMMENT ON COLUMN control_comparisons.prob_improvement IS
    'Share of seeds won; a tie counts half.';
COMMENT ON COLUMN control_comparisons.exploratory IS 'Too few seeds (below 6) for any verdict.';

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
COMMENT ON COLUMN curves.study IS 'The study.';
COMMENT ON COLUMN curves.trial IS 'The label of the trial.';
COMMENT ON COLUMN curves.trial_id IS 'The trial.';
COMMENT ON COLUMN curves.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN curves.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN curves.epoch IS 'As the workload counts.';
COMMENT ON COLUMN curves.name IS 'loss, learning_rate, val/recall@1, ...';
COMMENT ON COLUMN curves.value IS 'Its value.';

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
COMMENT ON COLUMN failures.study IS 'The study.';
COMMENT ON COLUMN failures.trial IS 'The label of the trial.';
COMMENT ON COLUMN failures.trial_id IS 'The trial.';
COMMENT ON COLUMN failures.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN failures.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN failures.run_id IS 'The run.';
COMMENT ON COLUMN failures.failure IS
    'Its class: diverged, collapsed, oom, crash, timeout, stalled or invalid.';
COMMENT ON COLUMN failures.message IS 'Why it failed, in a line.';
COMMENT ON COLUMN failures.attempts IS 'How often it was started.';
COMMENT ON COLUMN failures.stderr IS 'The last lines it printed.';

CREATE OR REPLACE VIEW openings AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, run_id,
    run.started AS opened,
    CASE study.sampler
        WHEN 'grid' THEN 'a fixed study: all its trials were known before any result'
        ELSE 'a confirmation: chosen by a search on validation classes'
    END AS reason
FROM trial
JOIN study USING (study)
JOIN member USING (trial_id)
JOIN run USING (run_id)
WHERE run.test
ORDER BY run.started, trial.study, trial.number, member.seed;
COMMENT ON VIEW openings IS 'When a run was allowed to score the test classes, and why.';
COMMENT ON COLUMN openings.study IS 'The study.';
COMMENT ON COLUMN openings.trial IS 'The label of the trial.';
COMMENT ON COLUMN openings.trial_id IS 'The trial.';
COMMENT ON COLUMN openings.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN openings.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN openings.run_id IS 'The run.';
COMMENT ON COLUMN openings.opened IS 'When the run started, UTC.';
COMMENT ON COLUMN openings.reason IS 'Why the test classes were opened.';

CREATE OR REPLACE VIEW pruned AS
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
COMMENT ON COLUMN pruned.study IS 'The study.';
COMMENT ON COLUMN pruned.trial IS 'The label of the trial.';
COMMENT ON COLUMN pruned.trial_id IS 'The trial.';
COMMENT ON COLUMN pruned.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN pruned.reason IS 'Why the search gave it up, in a line.';
COMMENT ON COLUMN pruned.seeds_done IS 'Seeds that are finished.';
COMMENT ON COLUMN pruned.seeds_pruned IS 'Seeds that a search stopped early or spared.';

CREATE OR REPLACE VIEW classes AS
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
COMMENT ON COLUMN classes.study IS 'The study.';
COMMENT ON COLUMN classes.trial IS 'The label of the trial.';
COMMENT ON COLUMN classes.trial_id IS 'The trial.';
COMMENT ON COLUMN classes.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN classes.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN classes.run_id IS 'The run.';
COMMENT ON COLUMN classes.label IS 'The class.';
COMMENT ON COLUMN classes.queries IS 'Queries of the class that count.';
COMMENT ON COLUMN classes.recall IS 'Share of them whose nearest neighbour is of the class.';

CREATE OR REPLACE VIEW circumstances AS
WITH environment AS (  -- parse each only once, as many runs share it
    SELECT versions, unnest(json_keys(versions)) AS what
    FROM (SELECT DISTINCT versions FROM run WHERE json_type(versions) = 'OBJECT')
),
library AS (
    SELECT versions, what, json_extract_string(versions, what) AS value
    FROM environment
    -- Libraries that run studies, draw pages or check types do not affect results.
    WHERE what NOT IN (
        'duckdb', 'jaxtyping', 'optuna', 'plotly', 'prompt_toolkit', 'pydantic', 'pyyaml', 'rich',
        'safetensors', 'threadpoolctl', 'typer'
    )
),
made AS (
    SELECT run_id, what, value
    FROM run
    JOIN library USING (versions)
    WHERE state = 'done'
    UNION ALL
    SELECT run_id, 'device', facts ->> '$.device' FROM run WHERE state = 'done'
    UNION ALL
    SELECT run_id, 'number_format', facts ->> '$.number_format' FROM run WHERE state = 'done'
    UNION ALL
    SELECT run_id, 'memory_layout', facts ->> '$.memory_layout' FROM run WHERE state = 'done'
),
asked AS (  -- circumstances that the study varies on purpose, by keys such as train.number_format
    -- A variant's name does not count as a key; only its overrides do.
    SELECT study, what
    FROM study, unnest(['device', 'number_format', 'memory_layout']) AS named(what)
    WHERE regexp_matches(
        concat(
            json_extract(spec, '$.search'),
            array_to_string(json_extract(spec, '$.variants.*')::VARCHAR[], ' ')
        ),
        concat('[".]', what, '" *:')
    )
)
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, trial.phase, member.seed, run_id,
    made.what, made.value
FROM trial
JOIN member USING (trial_id)
JOIN made USING (run_id)
LEFT JOIN asked ON asked.study = trial.study AND asked.what = made.what
WHERE trial.pruned IS NULL AND made.value IS NOT NULL AND asked.what IS NULL;
COMMENT ON VIEW circumstances IS
    'What each finished run was made with that can change its numbers, as far as it is recorded.';
COMMENT ON COLUMN circumstances.study IS 'The study.';
COMMENT ON COLUMN circumstances.trial IS 'The label of the trial.';
COMMENT ON COLUMN circumstances.trial_id IS 'The trial.';
COMMENT ON COLUMN circumstances.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN circumstances.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN circumstances.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN circumstances.run_id IS 'The run.';
COMMENT ON COLUMN circumstances.what IS 'A library, device, number_format or memory_layout.';
COMMENT ON COLUMN circumstances.value IS 'Its value.';

CREATE OR REPLACE VIEW mixed AS
SELECT study, phase, what, value, count(DISTINCT run_id) AS runs
FROM circumstances
GROUP BY study, phase, what, value
QUALIFY count(*) OVER (PARTITION BY study, phase, what) > 1
ORDER BY study, phase, what, runs DESC, value;
COMMENT ON VIEW mixed IS
    'In what the finished runs of a study differ beside its question, such as torch.';
COMMENT ON COLUMN mixed.study IS 'The study.';
COMMENT ON COLUMN mixed.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN mixed.what IS 'A library, device, number_format or memory_layout.';
COMMENT ON COLUMN mixed.value IS 'One of the values that runs have; there are two or more.';
COMMENT ON COLUMN mixed.runs IS 'How many finished runs have this value.';

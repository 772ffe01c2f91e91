-- The views of the results database. They hold no rows, so they need no migration: if those of a
-- database differ from these, all are re-created.
-- Query them with `harness sql` or any DuckDB client; COMMENT texts are stored in the database.

-- Non-finite numbers are filtered in one place, the view results. Aggregates run in order of seed,
-- so that the same runs give bit-identical results.

CREATE OR REPLACE VIEW folds AS
SELECT
    trial.study, trial.label AS trial, trial.trial_id, trial.number, trial.phase, trial.role,
    trial.is_baseline, member.seed, member.fold, member.run_id, result.split, result.name,
    result.value
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
JOIN (
    SELECT run_id, split, 'recall@' || k AS name, recall AS value FROM recall
    UNION ALL
    SELECT run_id, split, name, value FROM score
) AS result USING (run_id)
WHERE run.state = 'done' AND trial.pruned IS NULL AND isfinite(result.value);
COMMENT ON VIEW folds IS
    'Every finite result of every finished run, fold by fold, but of trials that were pruned.';
COMMENT ON COLUMN folds.study IS 'The study.';
COMMENT ON COLUMN folds.trial IS 'The label of the trial.';
COMMENT ON COLUMN folds.trial_id IS 'The trial.';
COMMENT ON COLUMN folds.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN folds.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN folds.role IS 'trial, baseline or control.';
COMMENT ON COLUMN folds.is_baseline IS 'Whether the others are compared with it.';
COMMENT ON COLUMN folds.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN folds.fold IS
    'The fold that was held out and scored, from 1; 0 if the study does not cut its classes.';
COMMENT ON COLUMN folds.run_id IS 'The run.';
COMMENT ON COLUMN folds.split IS 'The classes scored: val, test or what the workload names.';
COMMENT ON COLUMN folds.name IS 'Of the result: recall@K, nmi, map@r, ...';
COMMENT ON COLUMN folds.value IS 'Its value.';

CREATE OR REPLACE VIEW results AS
SELECT * EXCLUDE (fold) FROM folds WHERE fold = 0
UNION ALL
SELECT
    folds.study, folds.trial, trial_id, number, phase, role, is_baseline, seed,
    arg_min(run_id, fold) AS run_id, split, name, avg(value ORDER BY fold) AS value
FROM folds
JOIN study USING (study)
WHERE fold > 0
GROUP BY ALL
HAVING count(*) = any_value(CAST(study.spec ->> 'folds' AS INTEGER));
COMMENT ON VIEW results IS
    'Every finite result of every finished seed of every study, but of trials that were pruned.';
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
COMMENT ON COLUMN results.run_id IS 'The run; of a seed with folds, that of the first fold.';
COMMENT ON COLUMN results.split IS 'The classes scored: val, test or what the workload names.';
COMMENT ON COLUMN results.name IS 'Of the result: recall@K, nmi, map@r, ...';
COMMENT ON COLUMN results.value IS 'Its value; with folds the mean over them, once all have ended.';

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
seed_state AS (  -- a seed is done when all its folds are
    SELECT
        trial_id, member.seed, bool_or(is_pruned) AS is_pruned,
        coalesce(bool_and(coalesce(state = 'done', false)), false) AS is_done,
        coalesce(bool_or(state = 'failed'), false) AS has_failed
    FROM member
    LEFT JOIN run USING (run_id)
    GROUP BY trial_id, member.seed
),
progress AS (
    SELECT
        trial_id,
        count(*) AS planned,
        count(*) FILTER (is_done AND NOT is_pruned) AS done,
        count(*) FILTER (has_failed AND NOT is_pruned) AS failed,
        count(*) FILTER (is_pruned) AS pruned
    FROM seed_state
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
    comparison.prob_improvement, comparison.exploratory,
    wide.low AS low_classes, wide.high AS high_classes, wide.classes, wide.share AS share_classes,
    wide.folds
FROM comparison
JOIN trial USING (trial_id)
LEFT JOIN comparison_over_classes AS wide USING (trial_id, split, metric)
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
COMMENT ON COLUMN comparisons.low_classes IS
    'Lower end of the 95 % interval that covers other classes too: Recall@K on test, or with folds.';
COMMENT ON COLUMN comparisons.high_classes IS 'Its upper end; null without queries or at one seed.';
COMMENT ON COLUMN comparisons.folds IS 'Number of folds behind it; null if the data were not cut.';
COMMENT ON COLUMN comparisons.classes IS 'Number of test classes behind it.';
COMMENT ON COLUMN comparisons.share_classes IS
    'Share of the variance of the mean difference that is due to the classes, from 0 to 1.';

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

CREATE OR REPLACE VIEW effects AS
SELECT study, split, metric, term, kind, estimate, low, high, p, p_holm, n
FROM effect
ORDER BY study, split, metric, number;
COMMENT ON VIEW effects IS
    'What each component of an ablation is worth, and each pair together, paired by seed.';
COMMENT ON COLUMN effects.study IS 'The study.';
COMMENT ON COLUMN effects.split IS 'The classes scored: val, test or what the workload names.';
COMMENT ON COLUMN effects.metric IS 'recall@K or the name of a score.';
COMMENT ON COLUMN effects.term IS 'The component, or the two of an interaction: a x b.';
COMMENT ON COLUMN effects.kind IS
    'removal: full less the trial without it; addition: the trial with it alone less bare; main:
    mean with it less mean without; shapley: its share of full less bare; interaction: how much
    more two are worth together than apart; path: with it less without it, at its step of the path.';
COMMENT ON COLUMN effects.estimate IS 'Mean over seeds; positive if the component helps.';
COMMENT ON COLUMN effects.low IS 'Lower end of the 95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN effects.high IS 'Upper end of the 95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN effects.p IS 'Two-sided exact sign-flip p; never below 2 / 2**n.';
COMMENT ON COLUMN effects.p_holm IS 'p adjusted for all effects of this kind on this metric.';
COMMENT ON COLUMN effects.n IS
    'Seeds that have finished every trial that the effect is computed from.';

CREATE OR REPLACE VIEW curves AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, epoch.epoch,
    epoch.name, epoch.value, member.fold
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
COMMENT ON COLUMN curves.fold IS 'Fold that the run holds out, from 1; 0 if the data are not cut.';

CREATE OR REPLACE VIEW failures AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, run_id, run.failure,
    run.message, run.attempts, run.stderr, member.fold
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
COMMENT ON COLUMN failures.fold IS 'Fold that the run holds out, from 1; 0 if the data are not cut.';

CREATE OR REPLACE VIEW openings AS
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, member.seed, run_id,
    run.started AS opened,
    CASE
        WHEN study.sampler <> 'grid' THEN 'a confirmation: chosen by a search on validation classes'
        WHEN json_type(study.spec, '$.confirm') = 'OBJECT'
            THEN 'a confirmation: chosen among all trials of a grid on validation classes'
        ELSE 'a fixed study: all its trials were known before any result'
    END AS reason,
    run.username, run.command
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
COMMENT ON COLUMN openings.username IS 'Who started the run; null in older results.';
COMMENT ON COLUMN openings.command IS 'The command line that started it; null in older results.';

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

CREATE OR REPLACE VIEW recall_by_classes AS
WITH part AS (
    SELECT
        run_id, split, max(classes) AS of_classes,
        CASE WHEN count(*) OVER of_run > 1 THEN min(max(classes)) OVER of_run END AS matched
    FROM class_counts
    GROUP BY run_id, split
    WINDOW of_run AS (PARTITION BY run_id)
),
asked AS (
    SELECT DISTINCT run_id, split, of_classes, matched, drawn.classes
    FROM part, unnest(list_concat(
        [2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000],
        [5000, 7000, 10000, 15000, 20000, 30000, 50000, 70000, 100000, of_classes, matched]
    )) AS drawn(classes)
    WHERE drawn.classes <= of_classes
),
expected AS (
    SELECT
        run_id, split, asked.classes, of_classes,
        coalesce(asked.classes = matched, false) AS is_matched,
        sum(
            -- The chance that none of the classes before the hit is drawn: hypergeometric.
            CASE WHEN classes_before_hit <= of_classes - asked.classes THEN queries * exp(
                lgamma(of_classes - classes_before_hit) + lgamma(of_classes - asked.classes + 1)
                - lgamma(of_classes - classes_before_hit - asked.classes + 1) - lgamma(of_classes)
            ) ELSE 0 END
            ORDER BY classes_before_hit
        ) / sum(queries) AS recall
    FROM asked
    JOIN class_counts USING (run_id, split)
    GROUP BY ALL
)
SELECT
    trial.study, trial.label AS trial, trial_id, trial.number, trial.phase, trial.role,
    member.seed, run_id, expected.split, expected.classes, expected.of_classes,
    expected.is_matched, expected.recall
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
JOIN expected USING (run_id)
WHERE run.state = 'done' AND trial.pruned IS NULL
ORDER BY trial.study, trial.number, member.seed, expected.split, expected.classes;
COMMENT ON VIEW recall_by_classes IS
    'Expected Recall@1 of each finished run if only some of the classes, drawn at random, were there.';
COMMENT ON COLUMN recall_by_classes.study IS 'The study.';
COMMENT ON COLUMN recall_by_classes.trial IS 'The label of the trial.';
COMMENT ON COLUMN recall_by_classes.trial_id IS 'The trial.';
COMMENT ON COLUMN recall_by_classes.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN recall_by_classes.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN recall_by_classes.role IS 'trial, baseline or control.';
COMMENT ON COLUMN recall_by_classes.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN recall_by_classes.run_id IS 'The run.';
COMMENT ON COLUMN recall_by_classes.split IS 'The classes scored: val or test.';
COMMENT ON COLUMN recall_by_classes.classes IS 'Number of classes, that of the query included.';
COMMENT ON COLUMN recall_by_classes.of_classes IS 'Number of classes that the split has.';
COMMENT ON COLUMN recall_by_classes.is_matched IS
    'Whether this is the number of classes at which val and test can be compared: the smaller one.';
COMMENT ON COLUMN recall_by_classes.recall IS
    'Recall@1, exactly the mean over all such draws of classes.';

CREATE OR REPLACE VIEW flips AS
WITH paired_trial AS (
    SELECT trial.study, trial.trial_id, trial.label, trial.number, other.trial_id AS baseline_id
    FROM trial
    JOIN trial AS other ON other.study = trial.study AND other.is_baseline
    WHERE NOT trial.is_baseline AND trial.pruned IS NULL
    QUALIFY row_number() OVER (
        PARTITION BY trial.trial_id ORDER BY other.phase <> trial.phase, other.number
    ) = 1
),
pair AS (  -- of runs with the same seed on the same data
    SELECT paired_trial.*, mine.run_id, theirs.run_id AS baseline_run
    FROM paired_trial
    JOIN member AS mine USING (trial_id)
    JOIN member AS theirs ON theirs.trial_id = baseline_id AND theirs.seed = mine.seed
    JOIN run ON run.run_id = mine.run_id AND run.state = 'done'
    JOIN run AS other ON other.run_id = theirs.run_id AND other.state = 'done'
    WHERE run.data = other.data
)
SELECT
    pair.study, pair.label AS trial, pair.trial_id, pair.number, queries.image, queries.label,
    count(*) AS seeds,
    count(*) FILTER (
        queries.first_hit = 1 AND theirs.first_hit IS DISTINCT FROM 1
    ) AS wins,
    count(*) FILTER (
        theirs.first_hit = 1 AND queries.first_hit IS DISTINCT FROM 1
    ) AS losses
FROM pair
JOIN queries USING (run_id)
JOIN queries AS theirs
    ON theirs.run_id = pair.baseline_run AND theirs.image = queries.image
        AND theirs.label = queries.label
WHERE NOT queries.dropped
GROUP BY ALL
ORDER BY pair.study, pair.number, wins - losses DESC, queries.image;
COMMENT ON VIEW flips IS
    'Each test query in each trial: with how many seeds it is right where the baseline is wrong.';
COMMENT ON COLUMN flips.study IS 'The study.';
COMMENT ON COLUMN flips.trial IS 'The label of the trial.';
COMMENT ON COLUMN flips.trial_id IS 'The trial.';
COMMENT ON COLUMN flips.number IS 'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN flips.image IS 'Index of the query among the test images.';
COMMENT ON COLUMN flips.label IS 'Its class.';
COMMENT ON COLUMN flips.seeds IS 'Seeds that trial and baseline have finished on the same data.';
COMMENT ON COLUMN flips.wins IS
    'Seeds with which the nearest image is right in the trial and wrong in the baseline.';
COMMENT ON COLUMN flips.losses IS 'Seeds with which it is the other way round.';

CREATE OR REPLACE VIEW variance AS
WITH pair AS (
    SELECT
        one.study, one.split, one.name AS metric, one.trial AS source, one.number, one.is_baseline,
        one.seed, one.value AS alone, other.value AS together
    FROM results AS one
    JOIN study ON study.study = one.study AND json_type(study.spec, '$.variance') = 'OBJECT'
    JOIN results AS other
        ON other.study = one.study AND other.is_baseline AND other.seed = one.seed
        AND other.split = one.split AND other.name = one.name
),
spread AS (
    SELECT
        study, split, metric, source, number, is_baseline, count(*) AS n,
        stddev_samp(alone ORDER BY seed) AS sd,
        CASE
            WHEN min(alone) = max(alone) THEN 0
            ELSE var_samp(alone ORDER BY seed) / nullif(var_samp(together ORDER BY seed), 0)
        END AS share,
        CASE
            WHEN min(alone) = max(alone) THEN 1  -- it has no correlation
            ELSE greatest(0, 1 - corr(alone, together ORDER BY seed) ** 2)
        END AS unexplained
    FROM pair
    GROUP BY ALL
    HAVING count(*) > 2 AND min(together) < max(together)
),
widened AS (
    SELECT spread.*, 1 + 2 * unexplained * t_quantile.value ** 2 / (n - 2) AS middle
    FROM spread
    JOIN t_quantile ON t_quantile.df = n - 2
)
-- Pitman's interval of a ratio of variances of paired values; see harness/stats/variance/variance_share.py.
SELECT
    study, split, metric, source, n, sd, share,
    CASE WHEN NOT is_baseline THEN share / (middle + sqrt(middle ** 2 - 1)) END AS low,
    CASE WHEN NOT is_baseline THEN share * (middle + sqrt(middle ** 2 - 1)) END AS high
FROM widened
ORDER BY study, split, metric, number;
COMMENT ON VIEW variance IS
    'Of a study with variance: how much of the variance between seeds each source gives alone.';
COMMENT ON COLUMN variance.study IS 'The study.';
COMMENT ON COLUMN variance.split IS 'As in recall and score.';
COMMENT ON COLUMN variance.metric IS 'recall@K or the name of a score.';
COMMENT ON COLUMN variance.source IS
    'The source that varies alone; all: everything varies; none: all is pinned, so that runs differ only by what the machine does.';
COMMENT ON COLUMN variance.n IS 'Seeds finished both here and with everything varying; at least 3.';
COMMENT ON COLUMN variance.sd IS 'Standard deviation over these seeds.';
COMMENT ON COLUMN variance.share IS
    'Its variance, divided by the variance of all; shares of sources that interact exceed 1 together.';
COMMENT ON COLUMN variance.low IS
    'Lower end of its 95 % interval, Pitman''s for paired values; null for all.';
COMMENT ON COLUMN variance.high IS 'Upper end of its 95 % interval; null for all.';

CREATE OR REPLACE VIEW agreement AS
SELECT
    trial.study, trial.label AS trial, trial.trial_id, trial.number, label_agreement.epoch,
    one.seed, other.seed AS other_seed, label_agreement.images, label_agreement.ami
FROM trial
JOIN member AS one USING (trial_id)
JOIN member AS other ON other.trial_id = trial.trial_id
JOIN label_agreement
    ON label_agreement.run_id = one.run_id AND label_agreement.other_run = other.run_id
WHERE trial.pruned IS NULL
ORDER BY trial.study, trial.number, label_agreement.epoch, one.seed, other.seed;
COMMENT ON VIEW agreement IS
    'How far the pseudo-labels of each pair of seeds of a trial agree, in each epoch.';
COMMENT ON COLUMN agreement.study IS 'The study.';
COMMENT ON COLUMN agreement.trial IS 'The label of the trial.';
COMMENT ON COLUMN agreement.trial_id IS 'The trial.';
COMMENT ON COLUMN agreement.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN agreement.epoch IS 'As the workload counts; both seeds have clustered in it.';
COMMENT ON COLUMN agreement.seed IS 'One seed.';
COMMENT ON COLUMN agreement.other_seed IS 'The other, larger seed.';
COMMENT ON COLUMN agreement.images IS 'Images of the sample that both have clustered.';
COMMENT ON COLUMN agreement.ami IS
    'Adjusted mutual information: 1 for equal clusters, 0 for as much as chance gives.';

CREATE OR REPLACE VIEW purity_by_size AS
WITH last_one AS (
    SELECT run_id, size, purity
    FROM clusters
    QUALIFY epoch = max(epoch) OVER (PARTITION BY run_id)
)
SELECT
    trial.study, trial.label AS trial, trial.trial_id, trial.number,
    CAST(2 ** floor(log2(size)) AS BIGINT) AS from_size, count(*) AS clusters,
    count(DISTINCT run_id) AS runs, avg(purity) AS purity, min(purity) AS low, max(purity) AS high
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
JOIN last_one USING (run_id)
WHERE run.state = 'done' AND trial.pruned IS NULL AND size > 0 AND purity IS NOT NULL
GROUP BY ALL
ORDER BY trial.study, trial.number, from_size;
COMMENT ON VIEW purity_by_size IS
    'How pure the clusters of each trial are by their size, in the last clustering of each run.';
COMMENT ON COLUMN purity_by_size.study IS 'The study.';
COMMENT ON COLUMN purity_by_size.trial IS 'The label of the trial.';
COMMENT ON COLUMN purity_by_size.trial_id IS 'The trial.';
COMMENT ON COLUMN purity_by_size.number IS
    'Position of the trial in the study, from 0; controls come last.';
COMMENT ON COLUMN purity_by_size.from_size IS
    'Smallest number of images; the next class of sizes begins at twice as many.';
COMMENT ON COLUMN purity_by_size.clusters IS 'Clusters of such sizes, of all finished runs.';
COMMENT ON COLUMN purity_by_size.runs IS 'Finished runs that have such clusters.';
COMMENT ON COLUMN purity_by_size.purity IS
    'Mean share of their most frequent true class (a diagnostic).';
COMMENT ON COLUMN purity_by_size.low IS 'The least pure one.';
COMMENT ON COLUMN purity_by_size.high IS 'The purest one.';

CREATE OR REPLACE VIEW importance AS
SELECT study, parameter, share, low, high
FROM explained_variance
WHERE other = ''
ORDER BY study, share DESC, parameter;
COMMENT ON VIEW importance IS
    'How much of the variance between a study''s trials each parameter explains on its own.';
COMMENT ON COLUMN importance.study IS 'The study.';
COMMENT ON COLUMN importance.parameter IS 'Dotted key, or variant.';
COMMENT ON COLUMN importance.share IS 'Share of the variance of the study''s metric, from 0 to 1.';
COMMENT ON COLUMN importance.low IS
    'Lower end of its 95 % interval: of seeds drawn anew in a grid, of trials in a search.';
COMMENT ON COLUMN importance.high IS 'Its upper end; null for a grid with a single seed.';

CREATE OR REPLACE VIEW interactions AS
SELECT study, parameter, other, share, low, high
FROM explained_variance
WHERE other <> ''
ORDER BY study, share DESC, parameter, other;
COMMENT ON VIEW interactions IS
    'How much of the variance between a study''s trials pairs of parameters explain together.';
COMMENT ON COLUMN interactions.study IS 'The study.';
COMMENT ON COLUMN interactions.parameter IS 'Dotted key of the first, or variant.';
COMMENT ON COLUMN interactions.other IS 'Dotted key of the second.';
COMMENT ON COLUMN interactions.share IS
    'Share of the variance, beyond what the two explain on their own; from 0 to 1.';
COMMENT ON COLUMN interactions.low IS
    'Lower end of its 95 % interval: of seeds drawn anew in a grid, of trials in a search.';
COMMENT ON COLUMN interactions.high IS 'Its upper end; null for a grid with a single seed.';

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
    -- The name of a variant or component does not count as a key; only its overrides do.
    SELECT study, what
    FROM study, unnest(['device', 'number_format', 'memory_layout']) AS named(what)
    WHERE regexp_matches(
        concat(
            json_extract(spec, '$.search'),
            array_to_string(
                json_extract(spec, '$.ablate.components.*.without')::VARCHAR[], ' '
            ),
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

CREATE OR REPLACE VIEW claims AS
SELECT
    study, number, claim.claim, claim.trial, claim.relation, claim.other, claim.metric,
    claim.margin, coalesce(verdict, 'undecided') AS verdict, coalesce(reason, 'not tested yet') AS reason,
    coalesce(n, 0) AS n, planned, difference, low, high, p, p_against, p_holm, p_against_holm,
    claim.known_pairs = 0 AS is_registered, claim.noted, claim.known_pairs, claim.planned_pairs
FROM claim
LEFT JOIN claim_result USING (study, number)
ORDER BY study, number;
COMMENT ON VIEW claims IS
    'What a study is expected to show: whether it was said before any result, and whether it holds.';
COMMENT ON COLUMN claims.study IS 'The study.';
COMMENT ON COLUMN claims.number IS 'Position in the study file, from 0.';
COMMENT ON COLUMN claims.claim IS 'The claim as a sentence.';
COMMENT ON COLUMN claims.trial IS
    'Label of the trial it is about; winner: the best that was confirmed.';
COMMENT ON COLUMN claims.relation IS 'better_than, no_worse_than or same_as.';
COMMENT ON COLUMN claims.other IS 'Label of the trial that it is compared with.';
COMMENT ON COLUMN claims.metric IS 'The metric, on the test classes.';
COMMENT ON COLUMN claims.margin IS
    'better_than: by more than this; no_worse_than: by less; same_as: within it of each other.';
COMMENT ON COLUMN claims.verdict IS 'held, refuted or undecided, at 5 % for all claims together.';
COMMENT ON COLUMN claims.reason IS 'Why it is undecided; else empty.';
COMMENT ON COLUMN claims.n IS 'Seeds that both trials have finished.';
COMMENT ON COLUMN claims.planned IS 'Seeds that both trials are planned with.';
COMMENT ON COLUMN claims.difference IS 'Mean of its trial minus the other.';
COMMENT ON COLUMN claims.low IS 'Lower end of the 95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN claims.high IS 'Upper end of the 95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN claims.p IS
    'One-sided sign-flip p at the margin, for the claim; null until all its pairs have ended.';
COMMENT ON COLUMN claims.p_against IS 'The same for the opposite of the claim.';
COMMENT ON COLUMN claims.p_holm IS 'p adjusted for all claims of the study.';
COMMENT ON COLUMN claims.p_against_holm IS 'p_against adjusted for all claims of the study.';
COMMENT ON COLUMN claims.is_registered IS 'Whether it was made before any of its results.';
COMMENT ON COLUMN claims.noted IS 'When it was first seen, UTC; before any run of that call.';
COMMENT ON COLUMN claims.known_pairs IS 'Pairs of its runs that had finished by then.';
COMMENT ON COLUMN claims.planned_pairs IS 'Pairs that the study planned then.';

CREATE OR REPLACE VIEW vault AS
SELECT
    coalesce(trial.test_set, run.data) AS test_set,
    count(DISTINCT trial.study) AS studies,
    count(DISTINCT trial_id) FILTER (trial.role <> 'control') AS trials,
    count(DISTINCT run_id) AS runs,
    min(run.started) AS first, max(run.started) AS last,
    list(DISTINCT trial.study ORDER BY trial.study) AS names,
    list(DISTINCT run.username ORDER BY run.username) FILTER (run.username IS NOT NULL) AS users
FROM trial
JOIN member USING (trial_id)
JOIN run USING (run_id)
WHERE run.test AND run.state = 'done'
GROUP BY coalesce(trial.test_set, run.data)
ORDER BY studies DESC, trials DESC, test_set;
COMMENT ON VIEW vault IS
    'How often each test set has been read, over all studies in this results folder.';
COMMENT ON COLUMN vault.test_set IS
    'Digest of its files; in older results, and where the workload gives none, of all data.';
COMMENT ON COLUMN vault.studies IS 'Studies that have opened it.';
COMMENT ON COLUMN vault.trials IS
    'Trials scored on it, controls left out; equal settings count once in each study.';
COMMENT ON COLUMN vault.runs IS 'Finished runs scored on it; a run that studies share counts once.';
COMMENT ON COLUMN vault.first IS 'Start of the first of these runs, UTC.';
COMMENT ON COLUMN vault.last IS 'Start of the last of these runs, UTC.';
COMMENT ON COLUMN vault.names IS 'Names of the studies.';
COMMENT ON COLUMN vault.users IS 'Who started these runs, where known; null if that is unknown.';

CREATE OR REPLACE VIEW forecasts AS
SELECT
    study, planned_at, runs, low_hours, high_hours, took_hours,
    took_hours BETWEEN low_hours AND high_hours AS has_held
FROM forecast
ORDER BY planned_at, study;
COMMENT ON VIEW forecasts IS 'How long studies were expected to take when they began, and took.';
COMMENT ON COLUMN forecasts.study IS 'The study.';
COMMENT ON COLUMN forecasts.planned_at IS
    'When it was made, UTC: as soon as the first runs of the study allowed it.';
COMMENT ON COLUMN forecasts.runs IS 'Number of runs that were still to do.';
COMMENT ON COLUMN forecasts.low_hours IS
    'Hours if all go as fast as the first steps at their best.';
COMMENT ON COLUMN forecasts.high_hours IS
    'Hours if all go as slow as the first steps at their worst.';
COMMENT ON COLUMN forecasts.took_hours IS
    'Hours during which these runs were trained, over all calls; null until all are done.';
COMMENT ON COLUMN forecasts.has_held IS 'Whether they took as long as was said; null until done.';

CREATE OR REPLACE VIEW pareto AS
SELECT
    trial.study, point.split, trial.trial_id, trial.label AS trial, trial.number, trial.phase,
    trial.role, point.place, point.metric, point.direction, point.value, point.on_front,
    cost.seconds, cost.peak_mib
FROM pareto_point AS point
JOIN trial USING (trial_id)
LEFT JOIN (
    SELECT
        trial_id, avg(seconds ORDER BY seed) AS seconds, avg(peak_mib ORDER BY seed) AS peak_mib
    FROM (SELECT member.trial_id, member.seed, run.seconds, run.peak_mib FROM member JOIN run USING (run_id))
    GROUP BY trial_id
) AS cost ON cost.trial_id = trial.trial_id
ORDER BY trial.study, trial.phase DESC, point.split, point.on_front DESC, trial.number, point.place;
COMMENT ON VIEW pareto IS
    'The metrics of each trial of a study with several, and whether it is on the Pareto front.';
COMMENT ON COLUMN pareto.study IS 'The study.';
COMMENT ON COLUMN pareto.split IS 'The classes scored: val or test.';
COMMENT ON COLUMN pareto.trial_id IS 'The trial: one with all metrics on all its seeds, no control.';
COMMENT ON COLUMN pareto.trial IS 'The label of the trial.';
COMMENT ON COLUMN pareto.number IS 'Position of the trial in the study, from 0.';
COMMENT ON COLUMN pareto.phase IS
    'search: scored on validation classes only; confirm: test classes are opened.';
COMMENT ON COLUMN pareto.role IS 'trial or baseline.';
COMMENT ON COLUMN pareto.place IS 'Position of the metric in the study file; 0: the primary one.';
COMMENT ON COLUMN pareto.metric IS 'A metric, or a parameter of the trial.';
COMMENT ON COLUMN pareto.direction IS 'maximise or minimise.';
COMMENT ON COLUMN pareto.value IS 'Mean over seeds.';
COMMENT ON COLUMN pareto.on_front IS
    'Whether no trial of its phase is as good in all metrics and better in one.';
COMMENT ON COLUMN pareto.seconds IS 'Mean wall time of its runs; shown, never an objective.';
COMMENT ON COLUMN pareto.peak_mib IS 'Mean memory of its runs in MiB; shown, never an objective.';

CREATE OR REPLACE VIEW verifications AS
SELECT
    study, checked, kills, is_equal, git_commit, dirty, differences, first_run, first_epoch,
    first_parts, row_number() OVER (PARTITION BY study ORDER BY checked DESC) = 1 AS is_newest
FROM verification
ORDER BY study, checked DESC;
COMMENT ON VIEW verifications IS
    'Each call of harness verify: whether a study that was killed and resumed ended the same.';
COMMENT ON COLUMN verifications.study IS 'The study.';
COMMENT ON COLUMN verifications.checked IS 'When, UTC.';
COMMENT ON COLUMN verifications.kills IS 'How often a part of it was killed.';
COMMENT ON COLUMN verifications.is_equal IS 'Whether all tables and files were equal in the end.';
COMMENT ON COLUMN verifications.git_commit IS 'Commit of the code, where it lies in a repository.';
COMMENT ON COLUMN verifications.dirty IS 'Whether tracked files differed from that commit.';
COMMENT ON COLUMN verifications.differences IS 'The tables that differ; empty if none does.';
COMMENT ON COLUMN verifications.first_run IS 'The run whose training state differs first.';
COMMENT ON COLUMN verifications.first_epoch IS 'The epoch after which it differs.';
COMMENT ON COLUMN verifications.first_parts IS 'The parts of the state that differ then.';
COMMENT ON COLUMN verifications.is_newest IS 'Whether it is the last one of the study.';

-- The tables of the results database. A change to an existing table needs a migration (see
-- migrations.py) that produces the definition written here, apart from comments.
-- Query them with `harness sql` or any DuckDB client; COMMENT texts are stored in the database.

CREATE TABLE IF NOT EXISTS meta (
    key          VARCHAR PRIMARY KEY,
    value        VARCHAR NOT NULL
);
COMMENT ON TABLE meta IS 'What this file is.';
COMMENT ON COLUMN meta.key IS 'schema_version: the number of the last migration applied.';
COMMENT ON COLUMN meta.value IS 'As text.';

CREATE TABLE IF NOT EXISTS study (
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

CREATE TABLE IF NOT EXISTS trial (
    trial_id     VARCHAR PRIMARY KEY,
    study        VARCHAR NOT NULL,
    number       INTEGER NOT NULL,
    label        VARCHAR NOT NULL,
    phase        VARCHAR NOT NULL,
    role         VARCHAR NOT NULL,
    variant      VARCHAR,
    varied       JSON NOT NULL,
    params       JSON NOT NULL,
    is_baseline  BOOLEAN NOT NULL,
    pruned       VARCHAR,
    test_set     VARCHAR
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
COMMENT ON COLUMN trial.pruned IS 'Why a search gave it up, in a line; null if it did not.';
COMMENT ON COLUMN trial.test_set IS
    'Digest of the files of its test set; null if it opens none, or the workload gives none.';

CREATE TABLE IF NOT EXISTS member (
    trial_id     VARCHAR NOT NULL,
    seed         BIGINT NOT NULL,
    run_id       VARCHAR NOT NULL,
    is_pruned    BOOLEAN DEFAULT false,
    fold         INTEGER DEFAULT 0,
    PRIMARY KEY (trial_id, seed, fold)
);
COMMENT ON TABLE member IS
    'Which run answers for a trial, a seed and a fold; a run can serve several.';
COMMENT ON COLUMN member.trial_id IS 'The trial.';
COMMENT ON COLUMN member.seed IS 'The seed; equal seeds of two trials are a pair.';
COMMENT ON COLUMN member.run_id IS 'The run; it has no row in run before it starts.';
COMMENT ON COLUMN member.is_pruned IS
    'Whether the study stopped this run early, or spared it when it gave its trial up.';
COMMENT ON COLUMN member.fold IS
    'Fold of the training data that it holds out, from 1; 0 if they are not cut.';

CREATE TABLE IF NOT EXISTS run (
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
    stderr       VARCHAR,
    username     VARCHAR,
    command      VARCHAR
);
COMMENT ON TABLE run IS 'One trial with one seed, trained once, whichever studies ask for it.';
COMMENT ON COLUMN run.run_id IS 'Digest of workload, params, seed, test, code and data.';
COMMENT ON COLUMN run.workload IS 'The module that was run.';
COMMENT ON COLUMN run.seed IS 'What all its randomness comes from.';
COMMENT ON COLUMN run.test IS 'Whether the test classes were opened.';
COMMENT ON COLUMN run.state IS 'running, done, failed or pruned: stopped early by a search.';
COMMENT ON COLUMN run.failure IS
    'Of a failed run: diverged, collapsed, oom, crash, timeout, stalled or invalid.';
COMMENT ON COLUMN run.message IS 'Of a failed or pruned run: why, in a line.';
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
COMMENT ON COLUMN run.username IS 'Who started the newest attempt.';
COMMENT ON COLUMN run.command IS 'The command line that started the newest attempt.';

CREATE TABLE IF NOT EXISTS epoch (
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

CREATE TABLE IF NOT EXISTS recall (
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

CREATE TABLE IF NOT EXISTS score (
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

CREATE TABLE IF NOT EXISTS clusters (
    run_id       VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    cluster      INTEGER NOT NULL,
    size         BIGINT NOT NULL,
    purity       DOUBLE,
    "group"      INTEGER,
    members      BIGINT[]
);
COMMENT ON TABLE clusters IS 'The clusters of each epoch of finished runs, from the workload.';
COMMENT ON COLUMN clusters.run_id IS 'The run.';
COMMENT ON COLUMN clusters.epoch IS 'As the workload counts.';
COMMENT ON COLUMN clusters.cluster IS 'Index in its epoch.';
COMMENT ON COLUMN clusters.size IS 'Images in it.';
COMMENT ON COLUMN clusters.purity IS 'Share of its most frequent true class (a diagnostic).';
COMMENT ON COLUMN clusters."group" IS 'The group of clusters of similar size it is in.';
COMMENT ON COLUMN clusters.members IS
    'Those of a fixed sample of training images that are in it, by position; null if not written.';

CREATE TABLE IF NOT EXISTS cluster_pictures (
    run_id       VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    cluster      INTEGER NOT NULL,
    size         BIGINT NOT NULL,
    purity       DOUBLE NOT NULL,
    images       BIGINT[],
    labels       VARCHAR[] NOT NULL,
    pictures     VARCHAR[] NOT NULL
);
COMMENT ON TABLE cluster_pictures IS
    'Some of the purest and least pure clusters of finished runs, with pictures of a few images.';
COMMENT ON COLUMN cluster_pictures.run_id IS 'The run.';
COMMENT ON COLUMN cluster_pictures.epoch IS 'As the workload counts: the last clustering.';
COMMENT ON COLUMN cluster_pictures.cluster IS 'Index in its epoch.';
COMMENT ON COLUMN cluster_pictures.size IS 'Images in it.';
COMMENT ON COLUMN cluster_pictures.purity IS
    'Share of its most frequent true class (a diagnostic).';
COMMENT ON COLUMN cluster_pictures.images IS 'The images shown, by position in the training data.';
COMMENT ON COLUMN cluster_pictures.labels IS 'The true class of each.';
COMMENT ON COLUMN cluster_pictures.pictures IS 'The file of each, below the run''s work folder.';

CREATE TABLE IF NOT EXISTS label_agreement (
    run_id       VARCHAR NOT NULL,
    other_run    VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    images       BIGINT NOT NULL,
    ami          DOUBLE NOT NULL,
    PRIMARY KEY (run_id, other_run, epoch)
);
COMMENT ON TABLE label_agreement IS
    'How far the pseudo-labels of two seeds of a trial agree; computed from clusters.members.';
COMMENT ON COLUMN label_agreement.run_id IS 'The run with the smaller seed.';
COMMENT ON COLUMN label_agreement.other_run IS 'The run with the larger seed.';
COMMENT ON COLUMN label_agreement.epoch IS 'As the workload counts; both runs have clustered in it.';
COMMENT ON COLUMN label_agreement.images IS 'Images of the sample that both runs have clustered.';
COMMENT ON COLUMN label_agreement.ami IS
    'Adjusted mutual information: 1 for equal clusters, 0 for as much as chance gives.';

CREATE TABLE IF NOT EXISTS comparison (
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
    p_error           DOUBLE,
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
COMMENT ON COLUMN comparison.p_error IS
    'Standard error of p: 0 up to 20 seeds, where it is exact; beyond, signs are sampled.';

CREATE TABLE IF NOT EXISTS comparison_over_classes (
    study     VARCHAR NOT NULL,
    trial_id  VARCHAR NOT NULL,
    split     VARCHAR NOT NULL,
    metric    VARCHAR NOT NULL,
    low       DOUBLE NOT NULL,
    high      DOUBLE NOT NULL,
    classes   INTEGER,
    share     DOUBLE,
    folds     INTEGER,
    PRIMARY KEY (trial_id, split, metric)
);
COMMENT ON TABLE comparison_over_classes IS
    'Intervals of comparison that cover another draw of classes, from queries or folds; computed.';
COMMENT ON COLUMN comparison_over_classes.study IS 'The study.';
COMMENT ON COLUMN comparison_over_classes.trial_id IS 'The trial that is compared.';
COMMENT ON COLUMN comparison_over_classes.split IS 'As in recall and score.';
COMMENT ON COLUMN comparison_over_classes.metric IS 'recall@K; with folds, any score.';
COMMENT ON COLUMN comparison_over_classes.low IS '95 % interval over seeds and classes.';
COMMENT ON COLUMN comparison_over_classes.high IS '95 % interval over seeds and classes.';
COMMENT ON COLUMN comparison_over_classes.classes IS
    'Number of test classes; null if it is from folds.';
COMMENT ON COLUMN comparison_over_classes.share IS
    'Share of the variance of the mean difference that is due to the classes, from 0 to 1.';
COMMENT ON COLUMN comparison_over_classes.folds IS
    'Number of folds; null if it is from test classes.';

CREATE TABLE IF NOT EXISTS control_comparison (
    study               VARCHAR NOT NULL,
    trial_id            VARCHAR NOT NULL,
    control_id          VARCHAR NOT NULL,
    split               VARCHAR NOT NULL,
    metric              VARCHAR NOT NULL,
    n                   INTEGER NOT NULL,
    difference          DOUBLE NOT NULL,
    low                 DOUBLE,
    high                DOUBLE,
    p                   DOUBLE NOT NULL,
    p_error             DOUBLE NOT NULL,
    p_holm              DOUBLE NOT NULL,
    prob_improvement    DOUBLE NOT NULL,
    exploratory         BOOLEAN NOT NULL,
    PRIMARY KEY (trial_id, control_id, split, metric)
);
COMMENT ON TABLE control_comparison IS
    'Each trial against each control of its study, by the study''s metric; computed.';
COMMENT ON COLUMN control_comparison.study IS 'The study.';
COMMENT ON COLUMN control_comparison.trial_id IS 'The trial that is compared.';
COMMENT ON COLUMN control_comparison.control_id IS 'The control that it is compared with.';
COMMENT ON COLUMN control_comparison.split IS 'As in recall and score.';
COMMENT ON COLUMN control_comparison.metric IS 'The metric of the study.';
COMMENT ON COLUMN control_comparison.n IS 'Seeds that both have finished.';
COMMENT ON COLUMN control_comparison.difference IS 'Mean of trial minus control.';
COMMENT ON COLUMN control_comparison.low IS '95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN control_comparison.high IS '95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN control_comparison.p IS 'Two-sided exact sign-flip p; never below 2 / 2**n.';
COMMENT ON COLUMN control_comparison.p_error IS
    'Standard error of p: 0 up to 20 seeds, where it is exact; beyond, signs are sampled.';
COMMENT ON COLUMN control_comparison.p_holm IS 'p adjusted for all trials compared with this control.';
COMMENT ON COLUMN control_comparison.prob_improvement IS 'Share of seeds won; a tie counts half.';
COMMENT ON COLUMN control_comparison.exploratory IS 'Too few seeds (below 6) for any verdict.';

CREATE TABLE IF NOT EXISTS effect (
    study        VARCHAR NOT NULL,
    split        VARCHAR NOT NULL,
    metric       VARCHAR NOT NULL,
    kind         VARCHAR NOT NULL,
    term         VARCHAR NOT NULL,
    number       INTEGER NOT NULL,
    n            INTEGER NOT NULL,
    estimate     DOUBLE NOT NULL,
    low          DOUBLE,
    high         DOUBLE,
    p            DOUBLE NOT NULL,
    p_holm       DOUBLE NOT NULL,
    PRIMARY KEY (study, split, metric, kind, term)
);
COMMENT ON TABLE effect IS 'What the components of an ablation are worth, paired by seed; computed.';
COMMENT ON COLUMN effect.study IS 'The study.';
COMMENT ON COLUMN effect.split IS 'As in recall and score.';
COMMENT ON COLUMN effect.metric IS 'recall@K or the name of a score.';
COMMENT ON COLUMN effect.kind IS 'removal, addition, shapley, main, interaction or path.';
COMMENT ON COLUMN effect.term IS 'The component, or the two of an interaction.';
COMMENT ON COLUMN effect.number IS 'Position among the effects of the study, from 0.';
COMMENT ON COLUMN effect.n IS 'Seeds that have finished every trial that the effect is computed from.';
COMMENT ON COLUMN effect.estimate IS 'Mean over these seeds; positive if the component helps.';
COMMENT ON COLUMN effect.low IS '95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN effect.high IS '95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN effect.p IS 'Two-sided exact sign-flip p; never below 2 / 2**n.';
COMMENT ON COLUMN effect.p_holm IS 'p adjusted for all effects of this kind on this metric.';

CREATE TABLE IF NOT EXISTS explained_variance (
    study      VARCHAR NOT NULL,
    parameter  VARCHAR NOT NULL,
    other      VARCHAR NOT NULL,
    share      DOUBLE NOT NULL,
    low        DOUBLE,
    high       DOUBLE,
    digest     VARCHAR NOT NULL,
    PRIMARY KEY (study, parameter, other)
);
COMMENT ON TABLE explained_variance IS
    'How much of the variance between a study''s trials a parameter or a pair explains; computed.';
COMMENT ON COLUMN explained_variance.study IS 'The study.';
COMMENT ON COLUMN explained_variance.parameter IS 'Dotted key, or variant.';
COMMENT ON COLUMN explained_variance.other IS
    'The other parameter of a pair; empty for a parameter alone.';
COMMENT ON COLUMN explained_variance.share IS
    'From 0 to 1; that of a pair is beyond what its parameters explain alone.';
COMMENT ON COLUMN explained_variance.low IS '95 % interval; null if nothing can be drawn anew.';
COMMENT ON COLUMN explained_variance.high IS '95 % interval; null if nothing can be drawn anew.';
COMMENT ON COLUMN explained_variance.digest IS 'Of the results that it was computed from.';

CREATE TABLE IF NOT EXISTS look (
    study       VARCHAR NOT NULL,
    trial_id    VARCHAR NOT NULL,
    seeds       INTEGER NOT NULL,
    statistic   DOUBLE NOT NULL,
    boundary    DOUBLE,
    decision    VARCHAR NOT NULL,
    difference  DOUBLE,
    low         DOUBLE,
    high        DOUBLE,
    PRIMARY KEY (trial_id, seeds)
);
COMMENT ON TABLE look IS
    'What each look of a study with stop found about each undecided trial; computed.';
COMMENT ON COLUMN look.study IS 'The study.';
COMMENT ON COLUMN look.trial_id IS 'The trial that is compared with the baseline.';
COMMENT ON COLUMN look.seeds IS 'Seeds that the look used.';
COMMENT ON COLUMN look.statistic IS 'Absolute mean difference; for an e-process, the evidence.';
COMMENT ON COLUMN look.boundary IS
    'What the statistic must reach; null if nothing could be shown yet.';
COMMENT ON COLUMN look.decision IS 'What was decided, or: goes on.';
COMMENT ON COLUMN look.difference IS 'Mean of trial minus baseline over these seeds.';
COMMENT ON COLUMN look.low IS
    'Lower end of the repeated confidence interval, at the last look of the trial; null if open.';
COMMENT ON COLUMN look.high IS
    'Upper end of the repeated confidence interval, at the last look of the trial; null if open.';

CREATE TABLE IF NOT EXISTS t_quantile (
    df           INTEGER PRIMARY KEY,
    value        DOUBLE NOT NULL
);
COMMENT ON TABLE t_quantile IS 'Student''s t, 97.5 %: half a 95 % interval in standard errors.';
COMMENT ON COLUMN t_quantile.df IS 'Degrees of freedom; beyond the last row its value serves.';
COMMENT ON COLUMN t_quantile.value IS 'The quantile.';

CREATE TABLE IF NOT EXISTS queries (
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
    neighbour_pictures  VARCHAR[],
    classes_before_hit  BIGINT
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
COMMENT ON COLUMN queries.classes_before_hit IS
    'Other classes with an image before the first hit; null without one, or if search is inexact.';

CREATE TABLE IF NOT EXISTS class_counts (
    run_id              VARCHAR NOT NULL,
    split               VARCHAR NOT NULL,
    classes             BIGINT NOT NULL,
    classes_before_hit  BIGINT,
    queries             BIGINT NOT NULL
);
COMMENT ON TABLE class_counts IS
    'How many queries of a split have so many classes before their first hit, from the workload.';
COMMENT ON COLUMN class_counts.run_id IS 'The run.';
COMMENT ON COLUMN class_counts.split IS 'The classes scored: val or test.';
COMMENT ON COLUMN class_counts.classes IS 'How many they are.';
COMMENT ON COLUMN class_counts.classes_before_hit IS
    'Other classes with an image before the first hit; null for queries that never find one.';
COMMENT ON COLUMN class_counts.queries IS 'Number of such queries.';

CREATE TABLE IF NOT EXISTS projection (
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

CREATE TABLE IF NOT EXISTS claim (
    study          VARCHAR NOT NULL,
    number         INTEGER NOT NULL,
    claim          VARCHAR NOT NULL,
    trial          VARCHAR NOT NULL,
    relation       VARCHAR NOT NULL,
    other          VARCHAR NOT NULL,
    metric         VARCHAR NOT NULL,
    margin         DOUBLE NOT NULL,
    noted          TIMESTAMP NOT NULL,
    known_pairs    INTEGER NOT NULL,
    planned_pairs  INTEGER NOT NULL,
    PRIMARY KEY (study, number)
);
COMMENT ON TABLE claim IS 'What a study is expected to show, and when that was said.';
COMMENT ON COLUMN claim.study IS 'The study.';
COMMENT ON COLUMN claim.number IS 'Position in the study file, from 0.';
COMMENT ON COLUMN claim.claim IS 'The claim as a sentence.';
COMMENT ON COLUMN claim.trial IS 'Label of the trial it is about; winner: the best that was confirmed.';
COMMENT ON COLUMN claim.relation IS 'better_than, no_worse_than or same_as.';
COMMENT ON COLUMN claim.other IS 'Label of the trial that it is compared with.';
COMMENT ON COLUMN claim.metric IS 'The metric, on the test classes.';
COMMENT ON COLUMN claim.margin IS
    'better_than: by more than this; no_worse_than: by less; same_as: within it of each other.';
COMMENT ON COLUMN claim.noted IS 'When it was first seen, UTC; before any run of that call.';
COMMENT ON COLUMN claim.known_pairs IS 'Pairs of its runs that had finished by then.';
COMMENT ON COLUMN claim.planned_pairs IS 'Pairs that the study planned then.';

CREATE TABLE IF NOT EXISTS claim_result (
    study           VARCHAR NOT NULL,
    number          INTEGER NOT NULL,
    n               INTEGER NOT NULL,
    planned         INTEGER NOT NULL,
    difference      DOUBLE,
    low             DOUBLE,
    high            DOUBLE,
    p               DOUBLE,
    p_against       DOUBLE,
    p_holm          DOUBLE,
    p_against_holm  DOUBLE,
    verdict         VARCHAR NOT NULL,
    reason          VARCHAR NOT NULL,
    PRIMARY KEY (study, number)
);
COMMENT ON TABLE claim_result IS 'What the finished pairs say about each claim; computed.';
COMMENT ON COLUMN claim_result.study IS 'The study.';
COMMENT ON COLUMN claim_result.number IS 'The claim.';
COMMENT ON COLUMN claim_result.n IS 'Seeds that both trials have finished.';
COMMENT ON COLUMN claim_result.planned IS 'Seeds that both trials are planned with.';
COMMENT ON COLUMN claim_result.difference IS 'Mean of its trial minus the other.';
COMMENT ON COLUMN claim_result.low IS '95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN claim_result.high IS '95 % paired t-interval; null at one seed.';
COMMENT ON COLUMN claim_result.p IS
    'One-sided sign-flip p at the margin, for the claim; null until all its pairs have ended.';
COMMENT ON COLUMN claim_result.p_against IS 'The same for the opposite of the claim.';
COMMENT ON COLUMN claim_result.p_holm IS 'p adjusted for all claims of the study.';
COMMENT ON COLUMN claim_result.p_against_holm IS 'p_against adjusted for all claims of the study.';
COMMENT ON COLUMN claim_result.verdict IS 'held, refuted or undecided.';
COMMENT ON COLUMN claim_result.reason IS 'Why it is undecided; else empty.';

CREATE TABLE IF NOT EXISTS forecast (
    study       VARCHAR NOT NULL,
    planned_at  TIMESTAMP NOT NULL,
    runs        INTEGER NOT NULL,
    low_hours   DOUBLE NOT NULL,
    high_hours  DOUBLE NOT NULL,
    took_hours  DOUBLE,
    PRIMARY KEY (study, planned_at)
);
COMMENT ON TABLE forecast IS 'How long the runs of a study were expected to take, and took.';
COMMENT ON COLUMN forecast.study IS 'The study.';
COMMENT ON COLUMN forecast.planned_at IS
    'When it was made, UTC: as soon as the first runs of the study allowed it.';
COMMENT ON COLUMN forecast.runs IS 'Number of runs that were still to do.';
COMMENT ON COLUMN forecast.low_hours IS 'Hours if all go as fast as the first steps at their best.';
COMMENT ON COLUMN forecast.high_hours IS 'Hours if all go as slow as the first steps at their worst.';
COMMENT ON COLUMN forecast.took_hours IS
    'Hours during which these runs were trained, over all calls; null until all are done.';

CREATE TABLE IF NOT EXISTS pareto_point (
    study      VARCHAR NOT NULL,
    trial_id   VARCHAR NOT NULL,
    split      VARCHAR NOT NULL,
    place      INTEGER NOT NULL,
    metric     VARCHAR NOT NULL,
    direction  VARCHAR NOT NULL,
    value      DOUBLE NOT NULL,
    on_front   BOOLEAN NOT NULL,
    PRIMARY KEY (trial_id, split, place)
);
COMMENT ON TABLE pareto_point IS 'The metrics of each trial of a study with several; computed.';
COMMENT ON COLUMN pareto_point.study IS 'The study.';
COMMENT ON COLUMN pareto_point.trial_id IS 'A trial with all metrics on all its seeds; no control.';
COMMENT ON COLUMN pareto_point.split IS 'The classes scored: val or test.';
COMMENT ON COLUMN pareto_point.place IS 'Position of the metric in the study file; 0: the primary one.';
COMMENT ON COLUMN pareto_point.metric IS 'A metric, or a parameter of the trial.';
COMMENT ON COLUMN pareto_point.direction IS 'maximise or minimise.';
COMMENT ON COLUMN pareto_point.value IS 'Mean over seeds.';
COMMENT ON COLUMN pareto_point.on_front IS
    'Whether no trial of its phase is as good in all metrics and better in one.';

CREATE TABLE IF NOT EXISTS states (
    run_id  VARCHAR NOT NULL,
    epoch   INTEGER NOT NULL,
    part    VARCHAR NOT NULL,
    digest  VARCHAR NOT NULL
);
COMMENT ON TABLE states IS
    'Digests of the training state after each epoch of a finished run, from the workload.';
COMMENT ON COLUMN states.run_id IS 'The run.';
COMMENT ON COLUMN states.epoch IS 'As the workload counts.';
COMMENT ON COLUMN states.part IS 'What it is the state of: student, method.teacher, optimizer.0, ...';
COMMENT ON COLUMN states.digest IS 'Equal for equal states; hex digits.';

CREATE TABLE IF NOT EXISTS verification (
    study        VARCHAR NOT NULL,
    checked      TIMESTAMP NOT NULL,
    kills        INTEGER NOT NULL,
    is_equal     BOOLEAN NOT NULL,
    git_commit   VARCHAR,
    dirty        BOOLEAN,
    differences  VARCHAR NOT NULL,
    first_run    VARCHAR,
    first_epoch  INTEGER,
    first_parts  VARCHAR
);
COMMENT ON TABLE verification IS 'Each call of harness verify: whether a killed study ended the same.';
COMMENT ON COLUMN verification.study IS 'The study.';
COMMENT ON COLUMN verification.checked IS 'When, UTC.';
COMMENT ON COLUMN verification.kills IS 'How often a part of it was killed.';
COMMENT ON COLUMN verification.is_equal IS 'Whether all tables and files were equal in the end.';
COMMENT ON COLUMN verification.git_commit IS 'Commit of the code, where it lies in a repository.';
COMMENT ON COLUMN verification.dirty IS 'Whether tracked files differed from that commit.';
COMMENT ON COLUMN verification.differences IS 'The tables that differ; empty if none does.';
COMMENT ON COLUMN verification.first_run IS 'The run whose training state differs first.';
COMMENT ON COLUMN verification.first_epoch IS 'The epoch after which it differs.';
COMMENT ON COLUMN verification.first_parts IS 'The parts of the state that differ then.';

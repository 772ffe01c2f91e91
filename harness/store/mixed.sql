-- Version 8: what finished runs were made with, and where the runs of a study differ in it.
-- A workload may have filled tables of these names before they were views.
DROP TABLE IF EXISTS circumstances;
DROP TABLE IF EXISTS mixed;

CREATE VIEW circumstances AS
WITH environment AS (  -- many runs share one: taken apart once
    SELECT versions, unnest(json_keys(versions)) AS what
    FROM (SELECT DISTINCT versions FROM run WHERE json_type(versions) = 'OBJECT')
),
library AS (
    SELECT versions, what, json_extract_string(versions, what) AS value
    FROM environment
    -- What runs studies, draws pages or checks types has no part in a result.
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
asked AS (  -- what a study varies itself, by any key such as train.number_format, is its question
    -- A variant's name is no key: only what it overrides counts.
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

CREATE VIEW mixed AS
SELECT study, phase, what, value, count(DISTINCT run_id) AS runs
FROM circumstances
GROUP BY study, phase, what, value
QUALIFY count(*) OVER (PARTITION BY study, phase, what) > 1
ORDER BY study, phase, what, runs DESC, value;
COMMENT ON VIEW mixed IS
    'In what the finished runs of a study differ beside its question, such as torch.';

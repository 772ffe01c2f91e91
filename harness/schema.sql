-- The results database, version 1. Every change after a release is a numbered migration.

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

-- Which run answers for a trial and seed. A run can serve several studies.
CREATE TABLE member (
    trial_id     VARCHAR NOT NULL,
    seed         BIGINT NOT NULL,
    run_id       VARCHAR NOT NULL,
    PRIMARY KEY (trial_id, seed)
);

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

CREATE TABLE epoch (
    run_id       VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    name         VARCHAR NOT NULL,
    value        DOUBLE NOT NULL,
    PRIMARY KEY (run_id, epoch, name)
);

CREATE TABLE recall (
    run_id       VARCHAR NOT NULL,
    split        VARCHAR NOT NULL,
    k            INTEGER NOT NULL,
    recall       DOUBLE NOT NULL,
    queries      BIGINT,
    dropped      BIGINT,
    PRIMARY KEY (run_id, split, k)
);

CREATE TABLE score (
    run_id       VARCHAR NOT NULL,
    split        VARCHAR NOT NULL,
    name         VARCHAR NOT NULL,
    value        DOUBLE NOT NULL,
    PRIMARY KEY (run_id, split, name)
);

CREATE TABLE clusters (
    run_id       VARCHAR NOT NULL,
    epoch        INTEGER NOT NULL,
    cluster      INTEGER NOT NULL,
    size         BIGINT NOT NULL,
    purity       DOUBLE,
    "group"      INTEGER
);

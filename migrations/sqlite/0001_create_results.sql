-- Who runs what, and what came of it. Times are milliseconds since 1970. The words in the checks are those of
-- src/lifecycle; src/db/column.rs is the only place that maps them.

-- One croft process. It lives as long as it holds the lock on its file.
CREATE TABLE owner (
    id      TEXT    NOT NULL PRIMARY KEY,
    pid     INTEGER NOT NULL,
    started INTEGER NOT NULL,
    ended   INTEGER
);
CREATE INDEX owner_open ON owner (id) WHERE ended IS NULL;

CREATE TABLE run (
    seq         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    project     TEXT    NOT NULL,
    flake       TEXT    NOT NULL,
    fingerprint TEXT,
    revision    TEXT,
    cause       TEXT    NOT NULL,
    owner       TEXT    NOT NULL REFERENCES owner (id),
    state       TEXT    NOT NULL CHECK (state IN ('running', 'finished', 'cancelled', 'lost')),
    verdict     TEXT    CHECK (verdict IN ('eval-error', 'failed', 'undetermined', 'passed')),
    totals      TEXT    NOT NULL DEFAULT '{}',
    started     INTEGER NOT NULL,
    ended       INTEGER,
    CHECK ((state = 'running') = (ended IS NULL))
);
CREATE INDEX run_project ON run (project, seq);
CREATE INDEX run_open ON run (owner) WHERE state = 'running';

-- One derivation made once for our use. A key has at most one open build, whoever owns it.
CREATE TABLE build (
    id           TEXT    NOT NULL PRIMARY KEY,
    key          TEXT    NOT NULL,
    drv          TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    system       TEXT    NOT NULL,
    origin       TEXT    NOT NULL CHECK (origin IN ('built', 'store')),
    owner        TEXT    NOT NULL REFERENCES owner (id),
    state        TEXT    NOT NULL CHECK (state IN ('claimed', 'running', 'ended')),
    ending       TEXT    CHECK (ending IN ('decided', 'released')),
    last_attempt TEXT,
    claimed      INTEGER NOT NULL,
    ended        INTEGER,
    CHECK ((state = 'ended') = (ended IS NOT NULL)),
    CHECK ((state = 'ended') = (ending IS NOT NULL)),
    CHECK (origin = 'built' OR state = 'ended')
);
CREATE UNIQUE INDEX build_open ON build (key) WHERE state <> 'ended';
CREATE INDEX build_open_owner ON build (owner) WHERE state <> 'ended';
CREATE INDEX build_key ON build (key);

-- One try of a build. Key, name and system repeat those of the build for the sake of the indexes.
CREATE TABLE attempt (
    seq           INTEGER PRIMARY KEY,
    id            TEXT    NOT NULL UNIQUE,
    build         TEXT    NOT NULL REFERENCES build (id),
    key           TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    system        TEXT    NOT NULL,
    origin        TEXT    NOT NULL CHECK (origin IN ('built', 'store')),
    number        INTEGER NOT NULL,
    machine       TEXT    NOT NULL,
    started       INTEGER NOT NULL,
    outcome       TEXT    CHECK (outcome IN ('passed', 'failed', 'timeout', 'log-limit', 'not-deterministic',
                                             'infra', 'cancelled')),
    cause         TEXT,
    message       TEXT,
    ended         INTEGER,
    log_bytes     INTEGER,
    log_lines     INTEGER,
    log_truncated INTEGER,
    passed        INTEGER,
    failed        INTEGER,
    errors        INTEGER,
    skipped       INTEGER,
    refused       TEXT,
    problems      TEXT    NOT NULL DEFAULT '[]',
    UNIQUE (build, number),
    CHECK ((outcome IS NULL) = (ended IS NULL)),
    CHECK ((passed IS NULL) = (skipped IS NULL))
);
CREATE INDEX attempt_key ON attempt (key, outcome, origin);
CREATE INDEX attempt_name ON attempt (name, system, seq) WHERE outcome = 'passed' AND origin = 'built';
CREATE INDEX attempt_running ON attempt (build) WHERE outcome IS NULL;

-- The name of a test, stored once.
CREATE TABLE test_name (
    id    INTEGER PRIMARY KEY,
    suite TEXT    NOT NULL,
    name  TEXT    NOT NULL,
    UNIQUE (suite, name)
);

CREATE TABLE test (
    attempt INTEGER NOT NULL REFERENCES attempt (seq),
    name    INTEGER NOT NULL REFERENCES test_name (id),
    ordinal INTEGER NOT NULL,
    status  TEXT    NOT NULL CHECK (status IN ('passed', 'failed', 'error', 'skipped')),
    ms      INTEGER,
    message TEXT,
    PRIMARY KEY (attempt, name, ordinal)
) WITHOUT ROWID;

CREATE TABLE cell (
    run      INTEGER NOT NULL REFERENCES run (seq),
    system   TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    axes     TEXT    NOT NULL,
    drv      TEXT,
    key      TEXT,
    expect   TEXT    NOT NULL CHECK (expect IN ('pass', 'fail', 'refused')),
    external INTEGER NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('passed', 'reused', 'failed', 'blocked', 'flaky', 'timeout',
                                               'log-limit', 'eval-error', 'infra', 'cancelled', 'excluded',
                                               'build', 'substitute', 'running')),
    final    INTEGER NOT NULL,
    reason   TEXT,
    attempt  TEXT    REFERENCES attempt (id),
    attempts INTEGER NOT NULL,
    ms       INTEGER,
    passed   INTEGER,
    failed   INTEGER,
    errors   INTEGER,
    skipped  INTEGER,
    PRIMARY KEY (run, system, name),
    CHECK ((passed IS NULL) = (skipped IS NULL))
) WITHOUT ROWID;
CREATE INDEX cell_name ON cell (name, system, run);
CREATE INDEX cell_key ON cell (key) WHERE key IS NOT NULL;

-- The cells of a flake by its locked fingerprint: a JSON document, compressed with zstd.
CREATE TABLE eval_cache (
    fingerprint TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    document    BLOB    NOT NULL,
    PRIMARY KEY (fingerprint, version)
);

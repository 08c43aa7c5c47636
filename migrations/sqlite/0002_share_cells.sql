-- Cells are kept in sheets, and a run points at its sheets. What a run learns is in a sheet of its own; cells that were
-- known before it are in sheets that are named by their content, so that a run that finds the same again adds a few
-- small rows and not every cell anew. To readers, `cell` is what it was: a row for each cell of each run.

CREATE TABLE sheet (
    id     INTEGER PRIMARY KEY,
    -- The SHA-256 of the content. None: it belongs to one run, which still writes in it.
    digest BLOB UNIQUE CHECK (digest IS NULL OR length(digest) = 32)
);

CREATE TABLE run_sheet (
    run   INTEGER NOT NULL REFERENCES run (seq),
    sheet INTEGER NOT NULL REFERENCES sheet (id),
    PRIMARY KEY (run, sheet)
) WITHOUT ROWID;
CREATE INDEX run_sheet_sheet ON run_sheet (sheet, run);

CREATE TABLE sheet_cell (
    sheet    INTEGER NOT NULL REFERENCES sheet (id),
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
    PRIMARY KEY (sheet, system, name),
    CHECK ((passed IS NULL) = (skipped IS NULL))
) WITHOUT ROWID;

-- Each run so far gets one sheet of its own, with its own number.
INSERT INTO sheet (id) SELECT DISTINCT run FROM cell;
INSERT INTO run_sheet (run, sheet) SELECT DISTINCT run, run FROM cell;
INSERT INTO sheet_cell SELECT * FROM cell ORDER BY run, system, name;
DROP TABLE cell;

CREATE INDEX sheet_cell_name ON sheet_cell (name, system);
CREATE INDEX sheet_cell_key ON sheet_cell (key) WHERE key IS NOT NULL;

CREATE VIEW cell AS
SELECT run_sheet.run, system, name, axes, drv, key, expect, external, state, final, reason, attempt, attempts, ms,
       passed, failed, errors, skipped
FROM run_sheet JOIN sheet_cell ON sheet_cell.sheet = run_sheet.sheet;

-- The machines of the farm, launched or always there, and what happened to them. Times are milliseconds since 1970,
-- money is millionths of the unit that prices are given in.

-- Who this database is to a provider. One row.
CREATE TABLE farm (
    id   TEXT    NOT NULL PRIMARY KEY,
    made INTEGER NOT NULL
);

CREATE TABLE machine (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    pool        TEXT,
    provider    TEXT    NOT NULL,
    shape       TEXT,
    why         TEXT    NOT NULL,
    owner       TEXT    REFERENCES owner (id),
    wanted      TEXT    NOT NULL CHECK (wanted IN ('up', 'dormant', 'gone')),
    seen        TEXT    NOT NULL CHECK (seen IN ('requested', 'booting', 'ready', 'unreachable', 'dormant', 'gone')),
    wanted_since INTEGER NOT NULL,
    seen_since  INTEGER NOT NULL,
    replaces    TEXT,
    ending      TEXT,
    hold        TEXT,
    instance    TEXT,
    reach       TEXT,
    host_key    TEXT,
    slots       INTEGER NOT NULL,
    price       INTEGER NOT NULL,
    requested   INTEGER NOT NULL,
    launched    INTEGER,
    joined      INTEGER,
    idle_since  INTEGER,
    ended       INTEGER,
    builds      INTEGER NOT NULL DEFAULT 0,
    infra       INTEGER NOT NULL DEFAULT 0,
    running     INTEGER NOT NULL DEFAULT 0,
    interrupted INTEGER NOT NULL DEFAULT 0,
    nix         TEXT,
    health      TEXT,
    health_at   INTEGER,
    CHECK ((seen = 'gone') = (ended IS NOT NULL)),
    CHECK (wanted <> 'gone' OR ending IS NOT NULL)
);
-- A name belongs to one machine at a time.
CREATE UNIQUE INDEX machine_name ON machine (name) WHERE seen <> 'gone';
CREATE INDEX machine_open ON machine (pool) WHERE seen <> 'gone';
CREATE INDEX machine_ended ON machine (ended) WHERE ended IS NOT NULL;

CREATE TABLE machine_event (
    seq     INTEGER PRIMARY KEY,
    machine TEXT    NOT NULL REFERENCES machine (id),
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    words   TEXT    NOT NULL
);
CREATE INDEX machine_event_machine ON machine_event (machine, seq);

-- What each process has waiting, as it last said: a view for people, never read to decide.
CREATE TABLE waiting (
    owner    TEXT    NOT NULL REFERENCES owner (id),
    position INTEGER NOT NULL,
    run      TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    system   TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    eta      INTEGER,
    PRIMARY KEY (owner, position)
) WITHOUT ROWID;

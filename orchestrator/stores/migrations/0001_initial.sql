-- {prefix} is the table prefix; {id} {text} {int} {bytes} are the types of a dialect, {clustered} its word for tables that
-- are kept in the order of their key.
CREATE TABLE {prefix}runs (
    run_id {id} NOT NULL,
    name {id} NOT NULL,
    graph_hash {text} NOT NULL,
    status {id} NOT NULL,
    reason {text},
    epoch {int} NOT NULL,
    owner {id},
    head {int} NOT NULL,
    head_sum {text} NOT NULL,
    wake_at {int},
    parent_id {id},
    root_id {id} NOT NULL,
    spend {int} NOT NULL,
    tokens {int} NOT NULL,
    labels {bytes} NOT NULL,
    error {bytes},
    claims {int} NOT NULL,
    created_at {int} NOT NULL,
    updated_at {int} NOT NULL,
    finished_at {int},
    PRIMARY KEY (run_id)
) {clustered};
CREATE INDEX {prefix}runs_created ON {prefix}runs (created_at, run_id);
CREATE INDEX {prefix}runs_status ON {prefix}runs (status, created_at, run_id);
CREATE INDEX {prefix}runs_name ON {prefix}runs (name, created_at, run_id);
CREATE INDEX {prefix}runs_due ON {prefix}runs (status, wake_at);
CREATE INDEX {prefix}runs_owner ON {prefix}runs (owner);
CREATE INDEX {prefix}runs_parent ON {prefix}runs (parent_id);
CREATE TABLE {prefix}journal (
    run_id {id} NOT NULL,
    seq {int} NOT NULL,
    epoch {int} NOT NULL,
    nonce {text} NOT NULL,
    kind {text} NOT NULL,
    path {text} NOT NULL,
    body {bytes},
    "blob" {text},
    at {int} NOT NULL,
    sum {text} NOT NULL,
    PRIMARY KEY (run_id, seq)
) {clustered};
CREATE TABLE {prefix}blobs (
    hash {id} NOT NULL,
    part {int} NOT NULL,
    size {int} NOT NULL,
    body {bytes} NOT NULL,
    touched_at {int} NOT NULL,
    PRIMARY KEY (hash, part)
);
CREATE TABLE {prefix}inbox (
    run_id {id} NOT NULL,
    request_id {id} NOT NULL,
    kind {text} NOT NULL,
    path {text} NOT NULL,
    body {bytes} NOT NULL,
    "by" {text} NOT NULL,
    at {int} NOT NULL,
    consumed_seq {int},
    PRIMARY KEY (run_id, request_id)
) {clustered};
CREATE TABLE {prefix}drivers (
    owner {id} NOT NULL,
    host {text} NOT NULL,
    boot_id {text} NOT NULL,
    pid_ns {text} NOT NULL,
    pid {int} NOT NULL,
    started {int} NOT NULL,
    lease_until {int} NOT NULL,
    renewed_at {int} NOT NULL,
    PRIMARY KEY (owner)
) {clustered};
CREATE TABLE {prefix}schema_version (
    version {int} NOT NULL,
    checksum {text} NOT NULL,
    at {int} NOT NULL,
    PRIMARY KEY (version)
);

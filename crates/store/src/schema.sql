-- The tables of a store. `docs/store-layout.md` explains every column; a change here is a new layout version, or a step in `database.rs`.
-- Digests are 32 bytes, times are seconds since 1970, `boot` is the kernel's boot id until the files that a row
-- names are known to be on the disk, and NULL from then on.

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE layers (
    id INTEGER PRIMARY KEY,
    diff_id BLOB,
    tar_bytes INTEGER,
    tree BLOB,
    boot TEXT,
    created INTEGER NOT NULL
);
CREATE UNIQUE INDEX layers_by_diff_id ON layers (diff_id) WHERE diff_id IS NOT NULL;

CREATE TABLE layer_tars (
    layer INTEGER NOT NULL,
    epoch TEXT NOT NULL,
    diff_id BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (layer, epoch)
) WITHOUT ROWID;
CREATE INDEX layer_tars_by_diff_id ON layer_tars (diff_id);

CREATE TABLE tar_marks (
    prefix BLOB NOT NULL,
    layer INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (prefix, layer)
) WITHOUT ROWID;
CREATE INDEX tar_marks_by_layer ON tar_marks (layer);

CREATE TABLE blobs (
    digest BLOB PRIMARY KEY,
    bytes INTEGER NOT NULL,
    boot TEXT,
    created INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE layer_forms (
    diff_id BLOB NOT NULL,
    compression TEXT NOT NULL,
    parameters TEXT NOT NULL,
    digest BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (diff_id, compression, parameters, digest)
) WITHOUT ROWID;
CREATE INDEX layer_forms_by_digest ON layer_forms (digest);

CREATE TABLE images (
    id BLOB PRIMARY KEY,
    created INTEGER,
    stored INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    boot TEXT,
    manifest BLOB,
    manifest_type TEXT,
    source TEXT
) WITHOUT ROWID;

CREATE TABLE image_layers (
    image BLOB NOT NULL,
    position INTEGER NOT NULL,
    diff_id BLOB NOT NULL,
    layer INTEGER,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_by_layer ON image_layers (layer);
CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);

CREATE TABLE tags (
    reference TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    image BLOB NOT NULL,
    repo_digest BLOB
) WITHOUT ROWID;
CREATE INDEX tags_by_image ON tags (image);

CREATE TABLE indexes (
    reference TEXT NOT NULL,
    position INTEGER NOT NULL,
    platform TEXT NOT NULL,
    image BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (reference, position)
) WITHOUT ROWID;
CREATE INDEX indexes_by_image ON indexes (image);

CREATE TABLE attestations (
    image BLOB NOT NULL,
    position INTEGER NOT NULL,
    predicate_type TEXT NOT NULL,
    blob BLOB NOT NULL,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX attestations_by_blob ON attestations (blob);

CREATE TABLE cache (
    key BLOB PRIMARY KEY,
    op BLOB NOT NULL,
    selection BLOB,
    inputs TEXT NOT NULL,
    title TEXT NOT NULL,
    took INTEGER,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL,
    gone TEXT
) WITHOUT ROWID;
CREATE INDEX cache_by_op ON cache (op, created);

CREATE TABLE cache_layers (
    key BLOB NOT NULL,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    PRIMARY KEY (key, position)
) WITHOUT ROWID;
CREATE INDEX cache_layers_by_layer ON cache_layers (layer);

CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image BLOB NOT NULL,
    image_name TEXT NOT NULL,
    config TEXT NOT NULL,
    state TEXT NOT NULL,
    pid INTEGER,
    start_time INTEGER,
    code INTEGER,
    created INTEGER NOT NULL,
    started INTEGER,
    finished INTEGER,
    boot TEXT,
    created_nanos INTEGER NOT NULL DEFAULT 0,
    started_nanos INTEGER NOT NULL DEFAULT 0,
    finished_nanos INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX containers_by_image ON containers (image);

CREATE TABLE container_layers (
    container TEXT NOT NULL,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    PRIMARY KEY (container, position)
) WITHOUT ROWID;
CREATE INDEX container_layers_by_layer ON container_layers (layer);

CREATE TABLE builds (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    number INTEGER NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    started INTEGER NOT NULL,
    finished INTEGER,
    image BLOB
) WITHOUT ROWID;

CREATE TABLE build_layers (
    build TEXT NOT NULL,
    position INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    PRIMARY KEY (build, position)
) WITHOUT ROWID;
CREATE INDEX build_layers_by_layer ON build_layers (layer);

CREATE TABLE pins (
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (owner, kind, id)
) WITHOUT ROWID;
CREATE INDEX pins_by_id ON pins (kind, id);

CREATE TABLE pending (
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (owner, kind, id)
) WITHOUT ROWID;

CREATE TABLE lost (kind TEXT NOT NULL, name TEXT NOT NULL, noticed INTEGER NOT NULL);

-- Every opening of a store asks how old the oldest unsettled row is.
CREATE INDEX layers_unsettled ON layers (created) WHERE boot IS NOT NULL;
CREATE INDEX blobs_unsettled ON blobs (created) WHERE boot IS NOT NULL;
CREATE INDEX images_unsettled ON images (stored) WHERE boot IS NOT NULL;
CREATE INDEX containers_unsettled ON containers (created) WHERE boot IS NOT NULL;

//! The tables of the records.

use rrun_database::Database;

pub(super) const DATABASE: Database = Database {
    file: "records.db",
    lock: "records.lock",
    version: 7,
    schema: SCHEMA,
    upgrade: Some((6, DOCUMENTS)),
};

/// Before, the documents of an image were not kept.
const DOCUMENTS: &str = "
CREATE TABLE document(
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    pos INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY(image, pos)) STRICT";

const SCHEMA: &str = "
CREATE TABLE layer(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL, inodes INTEGER NOT NULL,
    implied TEXT NOT NULL, opaque INTEGER NOT NULL, split INTEGER NOT NULL DEFAULT 0,
    boot TEXT NOT NULL, durable INTEGER NOT NULL DEFAULT 0, used INTEGER NOT NULL,
    format TEXT NOT NULL DEFAULT 'directory') STRICT;
CREATE TABLE image(
    id TEXT PRIMARY KEY, config BLOB NOT NULL, size INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0, used INTEGER NOT NULL, detected INTEGER NOT NULL) STRICT;
CREATE TABLE image_layer(
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    pos INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY(image, pos)) STRICT;
CREATE INDEX image_layer_key ON image_layer(key);
CREATE TABLE document(
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    pos INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY(image, pos)) STRICT;
CREATE TABLE name(
    name TEXT PRIMARY KEY, kind INTEGER NOT NULL,
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE) STRICT;
CREATE INDEX name_image ON name(image);
CREATE TABLE lease(
    holder TEXT NOT NULL, image TEXT NOT NULL REFERENCES image(id),
    writable INTEGER NOT NULL, PRIMARY KEY(holder, image)) STRICT;
CREATE INDEX lease_image ON lease(image);
CREATE TABLE layer_lease(holder TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY(holder, key)) STRICT;
CREATE INDEX layer_lease_key ON layer_lease(key);
CREATE TABLE trash(
    name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, inodes INTEGER NOT NULL) STRICT;
CREATE TABLE partial(bytes INTEGER NOT NULL, inodes INTEGER NOT NULL) STRICT;
INSERT INTO partial VALUES(0, 0);
CREATE TABLE journal(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, image TEXT NOT NULL,
    names TEXT NOT NULL, removed INTEGER NOT NULL, origin TEXT NOT NULL, why TEXT NOT NULL,
    bytes INTEGER NOT NULL) STRICT;
CREATE INDEX journal_image ON journal(image, seq);
";

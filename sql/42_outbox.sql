-- Where notices go: the channels that the leading worker serves, from when each was first served. Trust: whoever may call outbox_serve can keep
-- notices from being sent, and so can whoever sends them; identity_status() shows what is left.
CREATE TABLE identity.outbox_channels (
    channel text COLLATE "C" NOT NULL PRIMARY KEY,
    since   timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('identity.outbox_channels', '');

-- What has to be brought to which channel, and how far that came. A row is made beside its notice, so a channel is told of all that happens from its
-- beginning on. Neither delivered nor dead: it waits. Trust: as above.
CREATE TABLE identity.outbox_deliveries (
    channel      text COLLATE "C" NOT NULL,
    access_id    bigint      NOT NULL,
    queued_at    timestamptz NOT NULL,
    attempts     int         NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL,
    last_error   text,
    delivered_at timestamptz,
    dead_at      timestamptz,
    PRIMARY KEY (channel, access_id),
    CHECK (delivered_at IS NULL OR dead_at IS NULL)
);
-- Of both there are few, however many were delivered.
CREATE INDEX outbox_deliveries_open ON identity.outbox_deliveries (channel, next_at) WHERE delivered_at IS NULL AND dead_at IS NULL;
CREATE INDEX outbox_deliveries_dead ON identity.outbox_deliveries (channel) WHERE dead_at IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('identity.outbox_deliveries', '');

-- +goose Up
CREATE TABLE users (
    id            integer PRIMARY KEY AUTOINCREMENT,
    email         text        NOT NULL,
    email_key     text        NOT NULL UNIQUE, -- lower-cased by the server: unique regardless of case
    username      text        NOT NULL,
    username_key  text        NOT NULL UNIQUE,
    first_name    text        NOT NULL DEFAULT '',
    last_name     text        NOT NULL DEFAULT '',
    phone         text        NOT NULL DEFAULT '',
    address       text        NOT NULL DEFAULT '',
    password_hash text        NOT NULL,
    settings_hash text        NOT NULL DEFAULT '', -- of the password that the server's settings had for a staff user last
    is_staff      boolean     NOT NULL DEFAULT false,
    is_active     boolean     NOT NULL DEFAULT true,
    avatar        text        NOT NULL DEFAULT '',
    preferences   text        NOT NULL DEFAULT '{}', -- a JSON object, kept as the client wrote it
    created_at    datetime    NOT NULL,
    updated_at    datetime    NOT NULL
);

-- One row a login. A refresh token is good only while it is the current one of its family.
CREATE TABLE refresh_families (
    id          text        PRIMARY KEY,
    user_id     bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    current_jti text        NOT NULL,
    expires_at  datetime    NOT NULL
);
CREATE INDEX refresh_families_user ON refresh_families (user_id);

-- Signing keys made at first start, when none are configured.
CREATE TABLE signing_keys (
    kid        text        PRIMARY KEY,
    secret     text        NOT NULL,
    created_at datetime    NOT NULL
);

CREATE TABLE categories (
    id          integer PRIMARY KEY AUTOINCREMENT,
    name        text        NOT NULL,
    name_key    text        NOT NULL UNIQUE,
    slug        text        NOT NULL UNIQUE,
    description text        NOT NULL DEFAULT '',
    created_at  datetime    NOT NULL,
    updated_at  datetime    NOT NULL
);

CREATE TABLE products (
    id          integer PRIMARY KEY AUTOINCREMENT,
    name        text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    price_cents bigint      NOT NULL CHECK (price_cents >= 0),
    stock       integer     NOT NULL CHECK (stock >= 0),
    stock_moves integer     NOT NULL DEFAULT 0, -- by orders, ever: of two stocks the one after more of them is the later
    category_id bigint      NOT NULL REFERENCES categories (id),
    image       text        NOT NULL DEFAULT '',
    featured    boolean     NOT NULL DEFAULT false,
    search_text text        NOT NULL, -- name and description, lower-cased by the server
    archived_at datetime,
    created_at  datetime    NOT NULL,
    updated_at  datetime    NOT NULL
);
CREATE INDEX products_newest ON products (created_at DESC, id DESC) WHERE archived_at IS NULL;
CREATE INDEX products_category ON products (category_id, created_at DESC, id DESC) WHERE archived_at IS NULL;
CREATE INDEX products_price ON products (price_cents, id) WHERE archived_at IS NULL;
CREATE INDEX products_category_price ON products (category_id, price_cents, id) WHERE archived_at IS NULL;
CREATE INDEX products_name ON products (name, id) WHERE archived_at IS NULL;

-- Which products changed in what lists are filtered and counted by, whoever changed them: every version is
-- one transaction's, and they are committed in their order.
CREATE TABLE catalog_version (
    version bigint NOT NULL
);
INSERT INTO catalog_version (version) VALUES (0);

CREATE TABLE catalog_changes (
    version    bigint NOT NULL,
    product_id bigint NOT NULL,
    texts      boolean NOT NULL, -- whether a search for words, in a category or in all, may find it differently
    PRIMARY KEY (version, product_id)
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER catalog_came AFTER INSERT ON products
BEGIN
    UPDATE catalog_version SET version = version + 1;
    INSERT INTO catalog_changes (version, product_id, texts) SELECT version, NEW.id, true FROM catalog_version;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER catalog_went AFTER DELETE ON products
BEGIN
    UPDATE catalog_version SET version = version + 1;
    INSERT INTO catalog_changes (version, product_id, texts) SELECT version, OLD.id, true FROM catalog_version;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER catalog_changed AFTER UPDATE ON products
    WHEN OLD.category_id <> NEW.category_id OR OLD.price_cents <> NEW.price_cents OR OLD.featured <> NEW.featured
        OR (OLD.stock > 0) <> (NEW.stock > 0) OR OLD.search_text <> NEW.search_text
        OR OLD.archived_at IS NOT NEW.archived_at
BEGIN
    UPDATE catalog_version SET version = version + 1;
    INSERT INTO catalog_changes (version, product_id, texts) SELECT version, NEW.id,
        OLD.category_id <> NEW.category_id OR OLD.search_text <> NEW.search_text OR OLD.archived_at IS NOT NEW.archived_at
        FROM catalog_version;
END;
-- +goose StatementEnd

CREATE TABLE carts (
    id      integer PRIMARY KEY AUTOINCREMENT,
    user_id bigint NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE cart_items (
    id         integer PRIMARY KEY AUTOINCREMENT,
    cart_id    bigint  NOT NULL REFERENCES carts (id) ON DELETE CASCADE,
    product_id bigint  NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    quantity   integer NOT NULL CHECK (quantity > 0),
    UNIQUE (cart_id, product_id)
);
CREATE INDEX cart_items_product ON cart_items (product_id);

CREATE TABLE orders (
    id               integer PRIMARY KEY AUTOINCREMENT,
    user_id          bigint      NOT NULL REFERENCES users (id),
    status           text        NOT NULL CHECK (status IN ('pending', 'processing', 'shipped', 'delivered', 'cancelled')),
    total_cents      bigint      NOT NULL CHECK (total_cents >= 0),
    shipping_address text        NOT NULL,
    phone_number     text        NOT NULL DEFAULT '',
    notes            text        NOT NULL DEFAULT '',
    created_at       datetime    NOT NULL,
    updated_at       datetime    NOT NULL
);
CREATE INDEX orders_user ON orders (user_id, id DESC);
CREATE INDEX orders_status ON orders (status, id DESC);
CREATE INDEX orders_created ON orders (created_at);

-- Name, category and price are frozen at the moment of the order.
CREATE TABLE order_items (
    id            integer PRIMARY KEY AUTOINCREMENT,
    order_id      bigint  NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    product_id    bigint  NOT NULL REFERENCES products (id),
    product_name  text    NOT NULL,
    category_name text    NOT NULL,
    price_cents   bigint  NOT NULL,
    quantity      integer NOT NULL CHECK (quantity > 0)
);
CREATE INDEX order_items_order ON order_items (order_id);
CREATE INDEX order_items_product ON order_items (product_id);

CREATE TABLE order_history (
    id       integer PRIMARY KEY AUTOINCREMENT,
    order_id bigint      NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    status   text        NOT NULL,
    at       datetime    NOT NULL,
    by_user  bigint      NOT NULL REFERENCES users (id)
);
CREATE INDEX order_history_order ON order_history (order_id);

-- The first answers to orders that bore an Idempotency-Key, to be given again. Kept for a day.
CREATE TABLE order_keys (
    user_id    bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key        text        NOT NULL,
    body_hash  text        NOT NULL,
    answer     text        NOT NULL,
    created_at datetime    NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX order_keys_age ON order_keys (created_at);

-- The counter's row lock gives events of one user the order of their commits.
CREATE TABLE notification_counters (
    user_id       bigint PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    last_event_id bigint NOT NULL
);

-- The outbox: written in the transaction that made the change, published after its commit.
CREATE TABLE notification_events (
    user_id      bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    event_id     bigint      NOT NULL, -- 1, 2, 3 … for each user, without a gap
    frame        text        NOT NULL, -- the JSON that a client receives
    created_at   datetime    NOT NULL,
    published_at datetime,
    read_at      datetime,
    origin       text        NOT NULL DEFAULT '', -- the request that caused it, and its trace
    PRIMARY KEY (user_id, event_id)
);
CREATE INDEX notification_events_unpublished ON notification_events (created_at) WHERE published_at IS NULL;
CREATE INDEX notification_events_age ON notification_events (created_at);

-- +goose Down
DROP TABLE notification_events;
DROP TABLE notification_counters;
DROP TABLE order_keys;
DROP TABLE order_history;
DROP TABLE order_items;
DROP TABLE orders;
DROP TABLE cart_items;
DROP TABLE carts;
DROP TABLE catalog_changes;
DROP TABLE catalog_version;
DROP TABLE products;
DROP TABLE categories;
DROP TABLE signing_keys;
DROP TABLE refresh_families;
DROP TABLE users;

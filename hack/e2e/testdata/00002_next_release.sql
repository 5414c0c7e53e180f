-- +goose Up
ALTER TABLE products ADD COLUMN next_release text;

-- +goose Down
ALTER TABLE products DROP COLUMN next_release;

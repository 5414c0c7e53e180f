-- Makes orders of the carts that the users $1, none of them twice, have locked. A user whose cart is empty, asks for more
-- than is in stock, or is too dear gets none. If the stock is enough for each of them but not for all together, it
-- changes nothing and returns no row. Every row that it changes is locked already.
--
-- $1 users, and of each: $2 shipping address, $3 phone number, $4 notes, $5 the time, $6 origin of the notification
WITH wanted AS MATERIALIZED (
    SELECT w.*, k.id AS cart_id
    FROM (SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
        AS w (user_id, shipping_address, phone_number, notes, at, origin) LIMIT 10) w -- which the planner reckons with
    JOIN carts k ON k.user_id = w.user_id),
line AS MATERIALIZED (
    SELECT w.user_id, p.id, p.name, p.price_cents, (SELECT c.name FROM categories c WHERE c.id = p.category_id) AS category,
        i.quantity, p.stock, p.stock_moves
    FROM wanted w
    JOIN cart_items i ON i.cart_id = w.cart_id
    JOIN products p ON p.id = i.product_id AND p.archived_at IS NULL),
paid AS MATERIALIZED (
    SELECT user_id, sum(price_cents::numeric * quantity) AS cents FROM line GROUP BY user_id
    HAVING bool_and(stock >= quantity) AND sum(price_cents::numeric * quantity) <= 9223372036854775807),
bought AS MATERIALIZED (
    SELECT line.* FROM line JOIN paid ON paid.user_id = line.user_id),
sold AS MATERIALIZED (
    SELECT id, sum(quantity) AS units, min(stock) - sum(quantity) AS remaining, min(stock_moves) + 1 AS moves
    FROM bought GROUP BY id),
placed AS (
    INSERT INTO orders (user_id, status, total_cents, shipping_address, phone_number, notes, created_at, updated_at)
    SELECT w.user_id, 'pending', paid.cents, w.shipping_address, w.phone_number, w.notes, w.at, w.at
    FROM wanted w JOIN paid ON paid.user_id = w.user_id
    WHERE NOT EXISTS (SELECT FROM sold WHERE remaining < 0)
    RETURNING id, user_id, total_cents, created_at),
step AS (
    INSERT INTO order_history (order_id, status, at, by_user) SELECT id, 'pending', created_at, user_id FROM placed),
item AS (
    INSERT INTO order_items (order_id, product_id, product_name, category_name, price_cents, quantity)
    SELECT o.id, b.id, b.name, b.category, b.price_cents, b.quantity FROM placed o JOIN bought b ON b.user_id = o.user_id
    RETURNING id, order_id, product_id),
emptied AS (
    DELETE FROM cart_items i USING placed o, wanted w WHERE w.user_id = o.user_id AND i.cart_id = w.cart_id),
taken AS (
    UPDATE products p SET stock = p.stock - s.units, stock_moves = s.moves
    FROM sold s WHERE p.id = s.id AND EXISTS (SELECT FROM placed)),
counted AS (
    INSERT INTO notification_counters (user_id, last_event_id) SELECT user_id, 1 FROM placed
    ON CONFLICT (user_id) DO UPDATE SET last_event_id = notification_counters.last_event_id + 1
    RETURNING user_id, last_event_id),
event AS (
    INSERT INTO notification_events (user_id, event_id, frame, created_at, origin)
    SELECT o.user_id, c.last_event_id,
        format('{"type":"order_notification","order_id":%s,"message":"Order created successfully"}', o.id), w.at, w.origin
    FROM placed o JOIN counted c ON c.user_id = o.user_id JOIN wanted w ON w.user_id = o.user_id
    RETURNING user_id, event_id, frame)
SELECT o.user_id, o.id, o.total_cents, e.event_id, e.frame,
    i.id, b.id, b.name, b.category, b.price_cents, b.quantity, s.remaining, s.moves
FROM placed o
JOIN event e ON e.user_id = o.user_id
JOIN item i ON i.order_id = o.id
JOIN bought b ON b.user_id = o.user_id AND b.id = i.product_id
JOIN sold s ON s.id = b.id
ORDER BY o.id, b.id

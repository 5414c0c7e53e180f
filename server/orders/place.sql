-- Makes an order of the cart that $1 has locked. If it is empty, or too little is in stock, or the total is too
-- large, it changes nothing and returns no row. Every row that it changes is locked already.
--
-- $1 user, $2 shipping address, $3 phone number, $4 notes, $5 the time, $6 origin of the notification
WITH bought AS MATERIALIZED (
    SELECT p.id, p.name, p.price_cents, (SELECT c.name FROM categories c WHERE c.id = p.category_id) AS category,
        i.quantity, p.stock, p.stock_moves
    FROM cart_items i JOIN products p ON p.id = i.product_id AND p.archived_at IS NULL
    WHERE i.cart_id = (SELECT k.id FROM carts k WHERE k.user_id = $1::bigint)),
placed AS (
    INSERT INTO orders (user_id, status, total_cents, shipping_address, phone_number, notes, created_at, updated_at)
    SELECT $1, 'pending', sum(price_cents::numeric * quantity), $2::text, $3::text, $4::text, $5::timestamptz, $5
    FROM bought
    HAVING bool_and(stock >= quantity) AND sum(price_cents::numeric * quantity) <= 9223372036854775807
    RETURNING id, total_cents),
step AS (
    INSERT INTO order_history (order_id, status, at, by_user) SELECT id, 'pending', $5, $1 FROM placed),
item AS (
    INSERT INTO order_items (order_id, product_id, product_name, category_name, price_cents, quantity)
    SELECT o.id, b.id, b.name, b.category, b.price_cents, b.quantity FROM placed o, bought b
    RETURNING id, product_id),
emptied AS (
    DELETE FROM cart_items i USING placed WHERE i.cart_id = (SELECT k.id FROM carts k WHERE k.user_id = $1)),
taken AS (
    UPDATE products p SET stock = p.stock - b.quantity, stock_moves = p.stock_moves + 1
    FROM placed, bought b WHERE p.id = b.id),
counted AS (
    INSERT INTO notification_counters (user_id, last_event_id) SELECT $1, 1 FROM placed
    ON CONFLICT (user_id) DO UPDATE SET last_event_id = notification_counters.last_event_id + 1
    RETURNING last_event_id),
event AS (
    INSERT INTO notification_events (user_id, event_id, frame, created_at, origin)
    SELECT $1, last_event_id,
        format('{"type":"order_notification","order_id":%s,"message":"Order created successfully"}', id), $5, $6::text
    FROM placed, counted
    RETURNING event_id, frame)
SELECT o.id, o.total_cents, e.event_id, e.frame,
    i.id, b.id, b.name, b.category, b.price_cents, b.quantity, b.stock - b.quantity, b.stock_moves + 1
FROM placed o, event e, bought b JOIN item i ON i.product_id = b.id
ORDER BY b.id

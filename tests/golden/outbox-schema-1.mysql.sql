CREATE TABLE IF NOT EXISTS remotion_usage_point (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    idempotency_key VARCHAR(255) NOT NULL UNIQUE,
    event VARCHAR(40) NOT NULL,
    host VARCHAR(300),
    succeeded BOOLEAN,
    is_still BOOLEAN NOT NULL,
    is_production BOOLEAN NOT NULL,
    occurred_at DOUBLE PRECISION NOT NULL,
    state VARCHAR(12) NOT NULL,
    due DOUBLE PRECISION NOT NULL,
    attempts INTEGER NOT NULL,
    token VARCHAR(32),
    unanswered_since DOUBLE PRECISION,
    last_error VARCHAR(500),
    billable BOOLEAN,
    classification VARCHAR(500),
    label VARCHAR(100),
    key_fingerprint VARCHAR(64) NOT NULL DEFAULT '',
    INDEX remotion_usage_point_due (state, key_fingerprint, due, id),
    INDEX remotion_usage_point_state (state, due, id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS remotion_daily_total (
    day INTEGER NOT NULL,
    registered_day INTEGER NOT NULL,
    event VARCHAR(40) NOT NULL,
    host VARCHAR(300) NOT NULL,
    label VARCHAR(100) NOT NULL,
    key_fingerprint VARCHAR(64) NOT NULL,
    classification VARCHAR(100) NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (day, registered_day, event, host, label, key_fingerprint, classification)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS remotion_pause (
    deliverer VARCHAR(500) NOT NULL PRIMARY KEY,
    reason VARCHAR(500) NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS remotion_usage_schema (version INTEGER NOT NULL PRIMARY KEY) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO remotion_usage_point (idempotency_key, event, host, succeeded, is_still, is_production, occurred_at, state, due, attempts, token, unanswered_since, last_error, billable, classification, label, key_fingerprint) VALUES ('registered', 'cloud-render', 'https://myapp.com', 1, 0, 1, 1700000000.0, 'registered', 1700000000.0, 1, NULL, NULL, NULL, 1, 'billable', NULL, '');
INSERT INTO remotion_usage_point (idempotency_key, event, host, succeeded, is_still, is_production, occurred_at, state, due, attempts, token, unanswered_since, last_error, billable, classification, label, key_fingerprint) VALUES ('development', 'cloud-render', 'https://myapp.com', 1, 0, 0, 1700000000.0, 'registered', 1700000000.0, 1, NULL, NULL, NULL, 0, 'development', NULL, '');
INSERT INTO remotion_usage_point (idempotency_key, event, host, succeeded, is_still, is_production, occurred_at, state, due, attempts, token, unanswered_since, last_error, billable, classification, label, key_fingerprint) VALUES ('rejected', 'cloud-render', 'https://myapp.com', 1, 0, 1, 1700000000.0, 'rejected', 1700000000.0, 1, NULL, NULL, 'no such event', NULL, NULL, NULL, '');
INSERT INTO remotion_usage_point (idempotency_key, event, host, succeeded, is_still, is_production, occurred_at, state, due, attempts, token, unanswered_since, last_error, billable, classification, label, key_fingerprint) VALUES ('held', 'cloud-render', 'https://myapp.com', 1, 0, 1, 1700000000.0, 'held', 1700000000.0, 1, NULL, 1700000000.0, 'no answer for 24 hours', NULL, NULL, NULL, '');
INSERT INTO remotion_usage_point (idempotency_key, event, host, succeeded, is_still, is_production, occurred_at, state, due, attempts, token, unanswered_since, last_error, billable, classification, label, key_fingerprint) VALUES ('failed', 'cloud-render', 'https://myapp.com', 1, 0, 1, 1700000000.0, 'pending', 1700000010.0, 1, NULL, 1700000000.0, 'no answer', NULL, NULL, NULL, '');
INSERT INTO remotion_usage_point (idempotency_key, event, host, succeeded, is_still, is_production, occurred_at, state, due, attempts, token, unanswered_since, last_error, billable, classification, label, key_fingerprint) VALUES ('claimed', 'web-render', NULL, 1, 1, 1, 1700000000.0, 'pending', 1700000060.0, 1, '5bc62ef2f4113807', NULL, NULL, NULL, NULL, NULL, '');
INSERT INTO remotion_usage_point (idempotency_key, event, host, succeeded, is_still, is_production, occurred_at, state, due, attempts, token, unanswered_since, last_error, billable, classification, label, key_fingerprint) VALUES ('pending', 'cloud-render', 'https://myapp.com', 0, 0, 1, 1700000000.0, 'pending', 1700000000.0, 0, NULL, NULL, NULL, NULL, NULL, NULL, '');
INSERT INTO remotion_usage_point (idempotency_key, event, host, succeeded, is_still, is_production, occurred_at, state, due, attempts, token, unanswered_since, last_error, billable, classification, label, key_fingerprint) VALUES ('deferred', 'cloud-render', NULL, NULL, 0, 1, 1700000000.0, 'deferred', 1700000000.0, 0, NULL, NULL, NULL, NULL, NULL, NULL, '');
INSERT INTO remotion_daily_total (day, registered_day, event, host, label, key_fingerprint, classification, number) VALUES (19675, 19675, 'cloud-render', 'https://myapp.com', '', '', 'billable', 1);
INSERT INTO remotion_pause (deliverer, reason, since, until) VALUES ('host-1', 'the API is unavailable', 1700000000.0, 1700000060.0);
INSERT INTO remotion_usage_schema (version) VALUES (1);

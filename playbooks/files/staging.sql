-- Beyond Odoo's own neutralisation of a copy: a new identity, no scheduled job at all, no mail that waits.
BEGIN;
DELETE FROM ir_config_parameter WHERE key = 'database.uuid';
INSERT INTO ir_config_parameter (key, value, create_date, write_date)
VALUES ('database.uuid', gen_random_uuid()::text, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC');
UPDATE ir_cron SET active = false;
UPDATE ir_mail_server SET active = false WHERE smtp_host <> 'invalid';
-- Without any, Odoo would take the server of its configuration file.
INSERT INTO ir_mail_server (name, smtp_host, smtp_port, smtp_encryption, smtp_authentication, active, sequence)
SELECT 'neutralization - disable emails', 'invalid', 1025, 'none', 'login', true, 0
WHERE NOT EXISTS (SELECT FROM ir_mail_server WHERE active AND smtp_host = 'invalid');
DO $$
BEGIN
    IF to_regclass('mail_mail') IS NOT NULL THEN
        UPDATE mail_mail SET state = 'cancel' WHERE state IN ('outgoing', 'exception');
    END IF;
    IF to_regclass('fetchmail_server') IS NOT NULL THEN
        UPDATE fetchmail_server SET active = false;
    END IF;
END
$$;
COMMIT;

-- What a database could reach the outside with, as one JSON document.
SELECT to_regclass('mail_mail') IS NOT NULL AS has_mail, to_regclass('fetchmail_server') IS NOT NULL AS has_fetchmail \gset
SELECT 0 AS waiting, 0 AS fetching \gset
\if :has_mail
SELECT count(*) AS waiting FROM mail_mail WHERE state = 'outgoing' \gset
\endif
\if :has_fetchmail
SELECT count(*) AS fetching FROM fetchmail_server WHERE active \gset
\endif
SELECT json_build_object(
    'uuid', coalesce((SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'), ''),
    'neutralized', coalesce((SELECT lower(value) IN ('true', '1', 't') FROM ir_config_parameter WHERE key = 'database.is_neutralized'), false),
    'mail_servers', (SELECT count(*) FROM ir_mail_server WHERE active AND smtp_host <> 'invalid'),
    'dead_mail_servers', (SELECT count(*) FROM ir_mail_server WHERE active AND smtp_host = 'invalid'),
    'fetchmail_servers', :fetching,
    'crons', (SELECT count(*) FROM ir_cron WHERE active),
    'waiting_mails', :waiting,
    'modules', (SELECT json_agg(name) FROM ir_module_module WHERE state IN ('installed', 'to upgrade', 'to remove'))
);

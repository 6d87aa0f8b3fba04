-- When the certificate ends that a media server shows; unknown until it has said so.
ALTER TABLE media_servers ADD COLUMN certificate_until INTEGER;

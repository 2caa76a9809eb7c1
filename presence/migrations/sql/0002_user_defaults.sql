-- A user, too, can be inserted by name alone: active, without rights, and without a usable password.
ALTER TABLE presence_user
    ALTER COLUMN password SET DEFAULT '!',
    ALTER COLUMN first_name SET DEFAULT '',
    ALTER COLUMN last_name SET DEFAULT '',
    ALTER COLUMN email SET DEFAULT '',
    ALTER COLUMN is_active SET DEFAULT true,
    ALTER COLUMN is_staff SET DEFAULT false,
    ALTER COLUMN is_superuser SET DEFAULT false,
    ALTER COLUMN date_joined SET DEFAULT statement_timestamp();

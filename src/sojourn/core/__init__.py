"""Values and rules of the core: no I/O and no clock but where ids are made."""

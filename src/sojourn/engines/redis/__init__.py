"""Sessions in Redis or Valkey: plain commands and Lua, one script call per commit."""

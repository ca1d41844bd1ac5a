"""The console: what a person who runs an application sees of its sessions. Server-rendered; reading needs no script."""

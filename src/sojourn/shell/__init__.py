"""The corridor between kinds and engines: the colour bridge, perform, leases, events, the sweep, the system's clock and ids."""

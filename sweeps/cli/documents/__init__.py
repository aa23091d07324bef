"""What `--json` prints: one document a verb, a file each. Field names stay; docs/json.md shows every one."""

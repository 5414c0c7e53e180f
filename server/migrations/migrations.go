// Package migrations holds the schema of the shop as numbered SQL files, one folder a database engine.
//
// Migrations are expand/contract: the release before must keep working on the schema that a file leaves
// behind, so that pods of both releases can run side by side during a rollout.
package migrations

import "embed"

// Files holds postgres/*.sql and sqlite/*.sql; both folders carry the same version numbers.
//
//go:embed postgres/*.sql sqlite/*.sql
var Files embed.FS

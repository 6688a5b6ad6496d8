// Package manymachines has no code: the folder holds scripts that run steer in shards, and
// a test that runs them.
package manymachines

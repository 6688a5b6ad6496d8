// Command steer trains steering vectors on Hugging Face checkpoints and
// applies them: it extracts, aggregates, records, generates and scores, on the
// CPU, without Python.
//
// It exits with 0 when all went well, with 1 after a failure or an interrupt,
// and with 2 when the command line itself is wrong. Results go to standard
// output; errors, notes and, on a terminal, progress to standard error.
package main

import "github.com/steervec/steer/internal/cli"

func main() { cli.Main() }

package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// TokenScale returns the value that tokens are colored around, the mean of their
// projections, and the distance from it at which colors are full, the same on both
// sides. The first token is left out of both where there are others: many models
// use it as a store, with an activation many times as long.
func TokenScale(projections []float64) (center, limit float64) {
	rest := projections
	if len(rest) > 1 {
		rest = rest[1:]
	}
	for _, p := range rest {
		center += p / float64(len(rest))
	}
	distances := make([]float64, len(rest))
	for i, p := range rest {
		distances[i] = math.Abs(p - center)
	}
	limit = slices.Max(append(distances, 0))
	if limit == 0 {
		limit = 1
	}
	return center, limit
}

// ColorTokens writes tokens for a terminal of 256 colors, blue where their
// projections lie above the center, orange below it.
func ColorTokens(tokens []string, projections []float64, center, limit float64) string {
	var b strings.Builder
	for i, token := range tokens {
		background, foreground := terminalColor((projections[i] - center) / limit)
		fmt.Fprintf(&b, "\x1b[48;5;%d;38;5;%dm%s", background, foreground, token)
	}
	b.WriteString("\x1b[0m")
	return b.String()
}

// Backgrounds from full orange over light gray to full blue, of the 256 colors of
// terminals, and what is legible on them.
var terminalColors = []struct{ background, foreground int }{
	{130, 231}, {172, 16}, {215, 16}, {223, 16}, {254, 16}, {189, 16}, {111, 16}, {68, 231}, {25, 231},
}

func terminalColor(share float64) (background, foreground int) {
	side := len(terminalColors) / 2
	c := terminalColors[side+int(math.Round(float64(side)*min(max(share, -1), 1)))]
	return c.background, c.foreground
}

package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/steervec/steer/eval"
	"github.com/steervec/steer/internal/output"
)

// PageFile is the name of the report in a sweep's folder.
const PageFile = "report.html"

// Save writes the page, beside path and renamed.
func (d *Data) Save(path string) error { return save(path, d.HTML) }

func save(path string, write func(io.Writer) error) error {
	file, err := output.Create(path)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		return errors.Join(err, file.Abort())
	}
	return file.Commit()
}

// Figures writes the report's figures into a folder, each as SVG and as PNG of 300
// dots an inch, on white paper, and returns the paths. The folder is made where it
// is missing.
func (d *Data) Figures(ctx context.Context, dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	var paths []string
	for _, s := range newView(d).scenes() {
		for _, form := range []struct {
			extension string
			write     func(io.Writer) error
		}{{"svg", s.writeSVG}, {"png", s.writePNG}} {
			if err := ctx.Err(); err != nil {
				return paths, fmt.Errorf("write figures: %w", err)
			}
			path := filepath.Join(dir, s.name+"."+form.extension)
			if err := save(path, form.write); err != nil {
				return paths, err
			}
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// scenes are all figures that there are data for, those of the chosen method.
func (v *view) scenes() []*scene {
	var all []*scene
	if methods := v.methods(); len(methods) > 0 {
		all = append(all, v.heatMap(methods[0], eval.Choose), v.heatMap(methods[0], eval.Report), v.curves(methods[0], eval.Report), v.slopes(methods[0], eval.Report))
	}
	all = append(all, v.tradeOff(eval.Report), v.movementBars(eval.Report), v.cosines(), v.planes())
	var there []*scene
	for _, s := range all {
		if s != nil {
			there = append(there, s)
		}
	}
	return there
}

package eval

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/steervec/steer"
	"github.com/steervec/steer/pairs"
)

// measure runs a shard of a sweep: the groups up to where something is chosen, or from
// there to the end.
func (s *sweep) measure(ctx context.Context) (*Manifest, error) {
	groups := s.groups()
	share := &SweepShard{Shard: s.run.Shard, To: s.toChoose}
	var grid *Manifest
	if s.run.After != "" {
		var err error
		if grid, err = s.goOnFrom(s.run.After); err != nil {
			return nil, fmt.Errorf("%s: %w", s.run.After, err)
		}
		share.From, share.To = s.toChoose, len(groups)
	}
	s.manifest.Shard = share
	folder, err := openFolder[groupPart](s.run.Dir, &s.manifest, s.data.Items, s.run.Resume)
	if err != nil {
		return nil, err
	}
	defer folder.close()
	if s.manifest.Groups == share.To {
		return &s.manifest, nil
	}
	if grid != nil {
		s.manifest.Vectors = grid.Vectors
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	groups = groups[share.From:share.To]
	for i := s.manifest.Groups - share.From; i < len(groups); i++ {
		part, err := groups[i].run(ctx, s.progress(groups, i))
		if err != nil {
			return nil, err
		}
		if i == len(groups)-1 {
			s.manifest.Work = s.work()
		}
		if err := folder.add(part); err != nil {
			return nil, err
		}
	}
	return &s.manifest, nil
}

// goOnFrom reads the rows of a merged grid.
func (s *sweep) goOnFrom(dir string) (*Manifest, error) {
	grid, err := ReadManifest(filepath.Join(dir, ManifestFile))
	if err != nil {
		return nil, err
	}
	if err := s.manifest.Differs(grid); err != nil {
		return nil, err
	}
	if grid.Groups != s.toChoose {
		return nil, fmt.Errorf("it has %d groups of points; what is left is begun when the %d of the grid are there and no more", grid.Groups, s.toChoose)
	}
	s.rows, err = readSome[Row](filepath.Join(dir, RowsFile), grid.Rows)
	return grid, err
}

// MergeSweep puts the folders together that all shards of a sweep wrote, and returns the
// manifest. Of shards of the grid a folder is made, which is that of a sweep that was
// stopped where the best point is chosen: a sweep goes on there with [SweepRun.Resume], or
// shards do with [SweepRun.After], which are merged into the same folder. Rows and what was
// found are those of a single run, to the bit; the work is that of all shards. A shard that
// is missing, that is not complete, that is there twice, or that is of other data, weights,
// number format, instruction set, grid or plan is an error that names it. The command is
// what the manifest is to say of how it came about.
func MergeSweep(dir string, shards []string, command []string) (*Manifest, error) {
	parts, err := openParts(shards)
	defer func() {
		for _, p := range parts {
			p.file.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	first := parts[0]
	share := first.manifest.Shard
	s := &sweep{manifest: *first.manifest, run: SweepRun{Dir: dir}}
	s.manifest.Shard, s.manifest.Command = nil, command
	if s.data.Items, err = readItems(filepath.Join(first.dir, ItemsFile)); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", first.dir, err)
	}
	if groups := len(s.groups()); share.From == 0 && share.To != s.toChoose || share.From > 0 && (share.From != s.toChoose || share.To != groups) {
		return nil, fmt.Errorf("%s: it has the groups %d to %d of %d, which is no part of a sweep", first.dir, share.From, share.To, groups)
	}
	folder, err := openFolder[Row](dir, &s.manifest, s.data.Items, true)
	if err != nil {
		return nil, err
	}
	defer folder.close()
	if s.manifest.Groups < share.From || s.manifest.Groups > share.To {
		return nil, fmt.Errorf("%s has %d groups of points, and these shards are of the groups %d to %d", dir, s.manifest.Groups, share.From, share.To)
	}
	s.rows = folder.lines
	if s.manifest.Groups == 0 {
		s.manifest.Vectors = first.manifest.Vectors
		if err := s.copyVectors(first.dir); err != nil {
			return nil, err
		}
	} else if !reflect.DeepEqual(s.manifest.Vectors, first.manifest.Vectors) {
		return nil, fmt.Errorf("%s: its vectors are not those of %s", first.dir, dir)
	}
	for i := share.From; i < share.To; i++ {
		part, err := nextGroup(parts)
		if err != nil {
			return nil, err
		}
		if i < s.manifest.Groups { // an earlier merge was stopped after it
			continue
		}
		if i == share.To-1 {
			for _, p := range parts {
				s.manifest.Work = s.manifest.Work.add(p.manifest.Work)
			}
		}
		if err := s.sumUp(folder, part, share.From > 0 && i == share.To-1); err != nil {
			return nil, err
		}
	}
	return &s.manifest, nil
}

func readItems(path string) (items []pairs.Item, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var item pairs.Item
		if err := json.Unmarshal(line, &item); err != nil {
			return nil, fmt.Errorf("read %s: line %d: %w", path, len(items)+1, err)
		}
		items = append(items, item)
	}
	return items, nil
}

// sweepPart is the folder of a shard.
type sweepPart struct {
	dir      string
	manifest *Manifest
	file     *os.File
	lines    *lines[groupPart]
}

// openParts opens the folders of shards, and names what they are not all of.
func openParts(dirs []string) (parts []sweepPart, err error) {
	var all steer.Shards
	for i, dir := range dirs {
		p := sweepPart{dir: dir}
		if p.manifest, err = ReadManifest(filepath.Join(dir, ManifestFile)); err != nil {
			return parts, err
		}
		if p.manifest.Shard == nil {
			return parts, fmt.Errorf("%s is not the folder of a shard", dir)
		}
		share := p.manifest.Shard
		own := share.Shard.Alone("")
		if err = own.Check(); err == nil && i > 0 {
			first := *parts[0].manifest
			first.Shard = p.manifest.Shard
			switch {
			case p.manifest.Differs(&first) != nil:
				err = p.manifest.Differs(&first)
			case share.From != parts[0].manifest.Shard.From || share.To != parts[0].manifest.Shard.To:
				err = errors.New("it is of the grid, and others of what comes after it, or the other way round")
			case release(p.manifest.Version) != release(first.Version):
				err = fmt.Errorf("the version of steer differs: %q and %q", first.Version, p.manifest.Version)
			default:
				all, err = all.Join(own)
			}
		} else if err == nil {
			all = own
		}
		if err == nil && p.manifest.Groups != share.To {
			err = fmt.Errorf("%s is not complete: it has %d of %d groups of points, and goes on with --resume", own, p.manifest.Groups-share.From, share.To-share.From)
		}
		if err == nil && i > 0 && !reflect.DeepEqual(p.manifest.Vectors, parts[0].manifest.Vectors) {
			err = errors.New("its vectors differ")
		}
		if err != nil {
			return parts, fmt.Errorf("%s and %s: %w", dirs[0], dir, err)
		}
		path := filepath.Join(dir, measuredFile)
		if p.file, err = os.Open(path); err != nil {
			return parts, err
		}
		p.lines = newLines[groupPart](path, p.file)
		parts = append(parts, p)
	}
	return parts, all.Complete()
}

// release is the version of steer without what built it for which machine.
func release(version string) string {
	name, _, _ := strings.Cut(version, " ")
	return name
}

// nextGroup reads the next group of all shards and puts it together.
func nextGroup(parts []sweepPart) (whole groupPart, err error) {
	for i, p := range parts {
		part, _, err := p.lines.next()
		if err != nil {
			return whole, err
		}
		if i == 0 {
			whole = part
			continue
		}
		switch {
		case !reflect.DeepEqual(part.Before, whole.Before) || !reflect.DeepEqual(part.After, whole.After) || !reflect.DeepEqual(part.Notes, whole.Notes):
			err = errors.New("what all shards compute alike differs")
		case (part.Measured == nil) != (whole.Measured == nil):
			err = errors.New("one has measured points, and the other none")
		case part.Measured != nil:
			err = whole.Measured.Merge(part.Measured)
		}
		if err != nil {
			return whole, fmt.Errorf("%s and %s: %w", parts[0].dir, p.dir, err)
		}
	}
	return whole, nil
}

// copyVectors takes the vectors over from a shard's folder.
func (s *sweep) copyVectors(from string) error {
	if !s.loadVectors(from) {
		return fmt.Errorf("%s: its vectors are missing, or are not those of its %s", from, ManifestFile)
	}
	for name, vector := range s.vectors {
		if err := vector.Save(vectorFile(s.run.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}

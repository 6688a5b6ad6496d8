package checkpoint

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// optionalFiles are taken along where a repository has them.
var optionalFiles = []string{
	"generation_config.json",
	"tokenizer.json",
	"tokenizer_config.json",
	"special_tokens_map.json",
	"chat_template.jinja",
}

// download brings the files of a repository that a checkpoint needs, with or
// without its weights, or the one GGUF file that is named, into the cache and
// returns its snapshot's folder and commit. What is cached is not asked for
// again; where the Hub cannot be asked, what is cached is used.
func download(ctx context.Context, id, file string, weights bool, opts Options) (dir, commit string, err error) {
	h, err := newHub(id, opts)
	if err != nil {
		return "", "", err
	}
	h.file, h.cache.file, h.cache.weights = file, file, weights
	cached, missing := h.cache.resolve(h.revision)
	if missing == nil {
		missing = h.cache.complete(cached)
	}
	if missing == nil && (h.offline || h.revision == cached && h.cache.settled(cached)) {
		return h.cache.snapshot(cached), cached, nil
	}
	if h.offline {
		return "", "", fmt.Errorf("downloads are switched off (Offline or HF_HUB_OFFLINE), and revision %s is not complete in the cache: %w", h.revision, missing)
	}
	useCached := func(reason error) (string, string, error) {
		h.progress(Event{Note: fmt.Sprintf("%s: using commit %s from the cache: %v", id, cached, reason)})
		return h.cache.snapshot(cached), cached, nil
	}

	commit, files, err := h.lookUp(ctx, missing == nil)
	if err != nil {
		if missing == nil && ctx.Err() == nil && !isNotFound(err) {
			return useCached(err)
		}
		return "", "", err
	}
	if err := h.fetchFiles(ctx, commit, files); err != nil {
		if missing == nil && ctx.Err() == nil && commit == cached {
			return useCached(err)
		}
		return "", "", err
	}
	// Only now: a revision in the cache stands for a commit that is complete. One
	// that was looked up without its weights does not take such a commit's place.
	if _, unknown := h.cache.resolve(h.revision); commit != h.revision && (weights || unknown != nil) {
		if err := h.cache.name(h.revision, commit); err != nil {
			return "", "", err
		}
	}
	return h.cache.snapshot(commit), commit, nil
}

// fetchFiles downloads the files of a commit that a checkpoint needs.
func (h *hub) fetchFiles(ctx context.Context, commit string, files map[string]bool) error {
	if h.file != "" {
		if !files[h.file] {
			return fmt.Errorf("the repository has no %s", h.file)
		}
		return h.fetch(ctx, commit, h.file)
	}
	if !files[configFile] {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if validGGUFName(name) {
				return fmt.Errorf("the repository has no %s; name one of its GGUF files, as in %s:%s", configFile, h.id, name)
			}
		}
		return fmt.Errorf("the repository has no %s", configFile)
	}
	wanted := []string{configFile}
	for _, name := range optionalFiles {
		if files[name] {
			wanted = append(wanted, name)
		} else {
			h.cache.markAbsent(commit, name)
		}
	}
	switch {
	case !h.cache.weights:
	case files[singleFile]:
		wanted = append(wanted, singleFile)
	case files[indexFile]:
		if err := h.fetch(ctx, commit, indexFile); err != nil {
			return err
		}
		shards, err := h.cache.shards(commit)
		if err != nil {
			return err
		}
		for _, shard := range shards {
			if !files[shard] {
				return fmt.Errorf("%s lists shard %s, which the repository does not have", indexFile, shard)
			}
		}
		wanted = append(wanted, shards...)
	case slices.ContainsFunc(pickles, func(name string) bool { return files[name] }):
		return errPickled
	default:
		return fmt.Errorf("the repository has neither %s nor %s", singleFile, indexFile)
	}
	for _, name := range wanted {
		if err := h.fetch(ctx, commit, name); err != nil {
			return err
		}
	}
	return nil
}

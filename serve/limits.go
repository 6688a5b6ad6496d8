package serve

import "time"

// What a request may have. Each bound is far above what clients send, and low
// enough that one request cannot take the server's memory or time.
const (
	maxHeader      = 64 << 10 // bytes of all headers
	maxBody        = 8 << 20  // bytes
	maxMessages    = 1024     // of a conversation
	maxPrompts     = 512      // of a request
	maxChoices     = 128      // of a prompt
	maxSequences   = 512      // of a request: prompts times choices
	maxStops       = 16       // stop strings
	maxStopBytes   = 256      // of one
	maxAlternative = 20       // top_logprobs
	maxBiases      = 1024     // tokens with a bias
	maxEdits       = 16       // of a choice
	maxInline      = 4 << 20  // bytes of an inline vector, decoded
	maxProjections = 8        // of a request
	maxUploaded    = 256      // vectors
	maxPairs       = 10000    // to train on
	maxName        = 64       // characters of a name

	readTime      = 30 * time.Second // for the headers of a request, and again for its body
	keepAliveTime = 15 * time.Second // between signs of life in a stream
)

// Package llamacpp holds this project's files and numbers to llama.cpp itself: its
// shared libraries, loaded at run time, read the control vectors that vecfile
// writes and compute with them, and compute the logits of checkpoints written as GGUF.
//
// It is a module of its own, so that nobody who uses steer gets what it needs. The
// script llamacpp/fetch brings the libraries; tests are skipped where they are not there,
// unless STEER_LLAMACPP=require says that they must be. STEER_LLAMACPP may also name
// the folder that they are in.
package llamacpp

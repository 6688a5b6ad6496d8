package steer

// Checksum is for tests that write files of statistics whose content is wrong.
var Checksum = checksum

/** Snapshot archives: the state of a cluster in one file. */
export { ArchiveError, type ArchiveMeta, ARCHIVE_VERSION, sizeOf } from "./layout.js";
export { readArchive } from "./read.js";
export { writeArchive } from "./write.js";

// A PyTorch checkpoint as torch.save writes it since 1.6 (a zip with one pickle and a file a storage): which tensor lies where. Reads headers only; nothing of the file
// is imported, called or evaluated.
//
// Accepted: a state dict, or one level around it ("state_dict", "model" or "module"), tensors and parameters of the plain storages, any strides, storages that are shared,
// zip64. Refused by name: every other opcode or global, compressed entries, TorchScript, files from before 1.6, big-endian files.
#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "compress/torch_tensors.h"

namespace leafcutter::compress {

struct TorchCheckpoint {
  std::vector<TorchTensor> tensors;  // in the order of the state dict; integers and booleans among them have no type
  std::vector<std::string> notes;    // one line each, for people: what was ignored
};

// Does the file begin as a zip or as a torch file from before 1.6 does (rather than GGUF, safetensors, ...)?
bool looks_like_torch(File& file);

// Throws Error(bad_file | unsupported | io) naming file, entry and offset, opcode, global or tensor. Below 64 MiB.
TorchCheckpoint read_torch_checkpoint(File& file);

}  // namespace leafcutter::compress

#include "runtime/block_executor.h"

namespace leafcutter::runtime {

float* host_buffer(const Workspace& work, RowBuffer name) {
  switch (name) {
    case RowBuffer::hidden:
      return work.hidden;
    case RowBuffer::normed:
      return work.normed;
    case RowBuffer::projected:
      return work.projected;
    case RowBuffer::q:
      return work.q;
    case RowBuffer::k:
      return work.k;
    case RowBuffer::v:
      return work.v;
    case RowBuffer::context:
      return work.context;
    case RowBuffer::gate:
      return work.gate;
    case RowBuffer::up:
      return work.up;
    case RowBuffer::logits:
      break;
  }
  return nullptr;
}

}  // namespace leafcutter::runtime

// One token of the memory: docs/spec/memory_step.md. A scan of one token, without the axis of time.
#pragma once

#include "call.hpp"
#include "memory_call.hpp"
#include "memory_scan.hpp"

namespace port {

template <typename Real>
void run_memory_step(Call<Real>& call) {
    MemoryCall<Real>(call, false).run(scan<Real>, {"gradient"});
}

}  // namespace port

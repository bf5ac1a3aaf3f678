// Fresh memory that is written from one end to the other, in pages as large as the system has.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace kernels {

// Ask for large pages where they fit: else the first touch of every four KiB goes to the system, which took longer
// than the products of a forward pass. Without any promise: where the system has none, nothing changes.
inline void in_large_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t large = std::uintptr_t{1} << 21;
    const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(data), end = (first + bytes) / large * large;
    const std::uintptr_t begin = (first + large - 1) / large * large;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace kernels

// One call of the memory as Python hands it over (`kernels/cpu_run.py` has the same fields in the same order).
#pragma once

#include <cstddef>
#include <cstdint>

namespace kernels {

enum Read : int64_t { AFTER = 0, BEFORE = 1, AT_ANCHOR = 2 };

// Tensors are dense in the order of their comments; of keys, values and queries the strides of the first three axes are
// given. `slots` of a segment are `past` tokens before it and `width` of its own.
template <class T>
struct Call {
    int64_t threads, batch, time, past, heads, features, values, segments, width, front;
    int64_t chunk;  // to whose start a window reaches back, or 0 where it reaches to that of the document
    int64_t normalised, read, kept;
    int64_t hidden;          // units of the memory of two layers
    int64_t steps, writers;  // of Newton-Schulz, and most tokens of a segment that write
    int64_t key_strides[3], value_strides[3], query_strides[3];
    double offset;               // added to the norm where Newton-Schulz starts
    const double* coefficients;  // [steps, 3]
    const uint8_t* writing;      // [batch, time]: which tokens write
    const int32_t* table;        // [5, segments, batch]: first token, tokens, position of the first, begins a document, opens
    const T *keys, *value_rows, *queries;      // [batch, time, heads, .]
    const T *window_keys, *window_values;      // [batch, past, heads, .]: the tokens before the call
    const T *retention, *momentum, *intake, *release;  // [batch, time, heads]
    const T* gamma;                                    // [batch, time, heads, past + 1]
    // A memory of one matrix has the first of each two, [batch, heads, out, in]; M_0 has no batch.
    const T *weights[2], *momenta[2], *anchors[2], *initial[2];
    T* reads;  // [batch, time, heads, values]
    T *last_weights[2], *last_momenta[2], *last_anchors[2];
    T* errors;  // [segments, batch, heads, slots]: squared error of each slot, zero at first; or null
    T* states;  // [batch, heads, kept ? segments + 1 : 2, .]: M and S at borders, as each memory holds them
    T* activations;  // [batch, heads, segments, .]: what a memory keeps of each segment besides, or null
    const T* d_reads;
    const T *d_last_weights[2], *d_last_momenta[2], *d_last_anchors[2];
    T *d_keys, *d_values, *d_queries, *d_window_keys, *d_window_values;  // dense; of the window zero at first
    T *d_retention, *d_momentum, *d_intake, *d_release, *d_gamma;
    T *d_weights[2], *d_momenta[2], *d_anchors[2];
    T* d_initial[2];  // of each row, [batch, heads, out, in], zero at first

    int64_t slots() const { return past + width; }
    int32_t entry(int64_t which, int64_t row, int64_t n) const { return table[(which * segments + n) * batch + row]; }
    bool resets_at(int64_t row, int64_t n) const { return entry(3, row, n) != 0; }
    bool opens_at(int64_t row, int64_t n) const { return entry(4, row, n) != 0; }
    // The segment at which the anchor of segment n was taken, -1 where it came in.
    int64_t opened(int64_t row, int64_t n) const {
        while (n >= 0 && !opens_at(row, n)) --n;
        return n;
    }
    // Where a row and head has what it holds at border n; of `kept` ones all stay, else two take turns.
    T* state(int64_t task, int64_t n, std::size_t size) const {
        return states + (task * (kept ? segments + 1 : 2) + (kept ? n : n % 2)) * size;
    }
};

}  // namespace kernels

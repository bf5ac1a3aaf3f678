// An implementation of levels L0 to L3 as a program, written from docs/spec.

#include "act.hpp"
#include "attention.hpp"
#include "convolution.hpp"
#include "ltm.hpp"
#include "m3.hpp"
#include "mag_gate.hpp"
#include "memory_chunked.hpp"
#include "memory_scan.hpp"
#include "memory_step.hpp"
#include "metrics.hpp"
#include "newton_schulz.hpp"
#include "normalize.hpp"
#include "polynomial.hpp"
#include "program.hpp"
#include "qk_projection.hpp"
#include "stablemax.hpp"

int main(int count, char** arguments) {
    using namespace port;
    const Program program{
        "atlas-cpp",
        "0.1",
        {
            {"newton_schulz", run_newton_schulz, run_newton_schulz},
            {"polynomial_features", run_polynomial_features, run_polynomial_features},
            {"l2_normalize", run_l2_normalize, run_l2_normalize},
            {"short_conv", run_short_conv, run_short_conv},
            {"qk_projection", run_qk_projection, run_qk_projection},
            {"qk_gate", run_qk_gate, run_qk_gate},
            {"sliding_window_attention", run_sliding_window_attention, run_sliding_window_attention},
            {"m3_mix", run_m3_mix, run_m3_mix},
            {"stablemax", run_stablemax, run_stablemax},
            {"ltm_scan", run_ltm_scan, run_ltm_scan},
            {"mag_gate", run_mag_gate, run_mag_gate},
            {"act_halt", run_act_halt, run_act_halt},
            {"fourier_concentration", run_fourier_concentration, run_fourier_concentration},
            {"circular_fit", run_circular_fit, run_circular_fit},
            {"memory_step", run_memory_step, run_memory_step},
            {"memory_scan", run_memory_scan, run_memory_scan},
            {"memory_chunked", run_memory_chunked, run_memory_chunked},
        },
    };
    return main_of(program, count, arguments);
}

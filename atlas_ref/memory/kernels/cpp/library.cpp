// What Python calls: each answers 1, or 0 where memory is short.
#include "front.hpp"
#include "matrix_back.hpp"
#include "orthogonal_back.hpp"

extern "C" {

int register_bytes() { return kernels::REGISTER; }

int memory_forward_f32(const kernels::Call<float>* call) { return kernels::forward(*call); }
int memory_forward_f64(const kernels::Call<double>* call) { return kernels::forward(*call); }
int memory_backward_f32(const kernels::Call<float>* call) { return kernels::backward(*call); }
int memory_backward_f64(const kernels::Call<double>* call) { return kernels::backward(*call); }

int orthogonal_forward_f32(const kernels::Call<float>* call) { return kernels::orthogonal_forward(*call); }
int orthogonal_forward_f64(const kernels::Call<double>* call) { return kernels::orthogonal_forward(*call); }
int orthogonal_backward_f32(const kernels::Call<float>* call) { return kernels::orthogonal_backward(*call); }
int orthogonal_backward_f64(const kernels::Call<double>* call) { return kernels::orthogonal_backward(*call); }

int front_forward_f32(const kernels::FrontCall<float>* call) { return kernels::front_forward(*call); }
int front_forward_f64(const kernels::FrontCall<double>* call) { return kernels::front_forward(*call); }
int front_backward_f32(const kernels::FrontCall<float>* call) { return kernels::front_backward(*call); }
int front_backward_f64(const kernels::FrontCall<double>* call) { return kernels::front_backward(*call); }

}

// What Python calls: each answers 1, or 0 where memory is short.
#include "front.hpp"
#include "matrix_back.hpp"
#include "mlp_back.hpp"
#include "orthogonal_back.hpp"
#include "pages.hpp"

extern "C" {

int stride_f32(int64_t length) { return kernels::stride<float>(length); }
int stride_f64(int64_t length) { return kernels::stride<double>(length); }

void in_large_pages(void* data, int64_t bytes) { kernels::in_large_pages(data, bytes); }

int matrix_forward_f32(const kernels::Call<float>* call) { return kernels::forward(*call); }
int matrix_forward_f64(const kernels::Call<double>* call) { return kernels::forward(*call); }
int matrix_backward_f32(const kernels::Call<float>* call) { return kernels::backward(*call); }
int matrix_backward_f64(const kernels::Call<double>* call) { return kernels::backward(*call); }

int orthogonal_forward_f32(const kernels::Call<float>* call) { return kernels::orthogonal_forward(*call); }
int orthogonal_forward_f64(const kernels::Call<double>* call) { return kernels::orthogonal_forward(*call); }
int orthogonal_backward_f32(const kernels::Call<float>* call) { return kernels::orthogonal_backward(*call); }
int orthogonal_backward_f64(const kernels::Call<double>* call) { return kernels::orthogonal_backward(*call); }

int mlp_forward_f32(const kernels::Call<float>* call) { return kernels::mlp_forward(*call); }
int mlp_forward_f64(const kernels::Call<double>* call) { return kernels::mlp_forward(*call); }
int mlp_backward_f32(const kernels::Call<float>* call) { return kernels::mlp_backward(*call); }
int mlp_backward_f64(const kernels::Call<double>* call) { return kernels::mlp_backward(*call); }

int front_forward_f32(const kernels::FrontCall<float>* call) { return kernels::front_forward(*call); }
int front_forward_f64(const kernels::FrontCall<double>* call) { return kernels::front_forward(*call); }
int front_backward_f32(const kernels::FrontCall<float>* call) { return kernels::front_backward(*call); }
int front_backward_f64(const kernels::FrontCall<double>* call) { return kernels::front_backward(*call); }

}

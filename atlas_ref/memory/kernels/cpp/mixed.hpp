// One written matrix of a memory over a segment, forward and back, where it is linear in factors l_i r_i^T:
//
//     M_t x = sum_i W[t, i] (r_i . x) l_i + W[t, S] S x + W[t, M] M x
//
// M^T and S^T have a row for each input. `matrix.hpp` has one of these, `mlp.hpp` two.
#pragma once

#include "segment.hpp"

namespace kernels {

// M and S of one matrix, transposed, or their gradients.
template <class T>
struct Held {
    Rows<T> m, s;
};

template <class T>
class Mixed {
   public:
    Mixed(Segment<T>& segment, int inputs, int outputs, Workspace<T>& work)
        : s_(segment),
          I(inputs),
          O(outputs),
          rights_turned_(work.rows(I, s_.most_slots)),
          similar_(work.rows(s_.most, s_.most_slots)),
          scaled_inputs_(work.rows(s_.most_slots, I)),
          scaled_lefts_(work.rows(s_.most_slots, O)) {}

    // y_t = M_t x_t of every token.
    void read(const Rows<T>& y, const Rows<T>& x, const Rows<T>& right, const Rows<T>& left, const Held<T>& held) {
        similarities(x, right);
        for (int i = 0; i < s_.tokens; ++i) {
            multiply(similar_[i], of_read(s_.W, i), s_.seen_by(i));
            hide(similar_, i);
        }
        product(y, straight(similar_), left, s_.tokens, O, s_.slots, false, s_.seen());
        product(y, inputs_times(s_.of_m(), x), held.m, s_.tokens, O, I, true);
        product(y, inputs_times(s_.of_s(), x), held.s, s_.tokens, O, I, true);
    }

    // What the last token of the segment leaves.
    void write(const Rows<T>& right, const Rows<T>& left, const Held<T>& held, const Held<T>& next) {
        const T *w = s_.W[s_.tokens], *u = s_.U[s_.tokens];
        const T of_m = w[s_.of_m()], of_s = w[s_.of_s()], kept = u[s_.of_s()];
        for (int i = 0; i < I; ++i) {
            T *__restrict m = next.m[i], *__restrict s = next.s[i];
            const T *__restrict m_old = held.m[i], *__restrict s_old = held.s[i];
#pragma omp simd
            for (int j = 0; j < O; ++j) {
                m[j] = of_m * m_old[j] + of_s * s_old[j];
                s[j] = kept * s_old[j];
            }
        }
        product(next.m, turned(right), lefts_times(w, left), I, O, s_.slots, true);
        product(next.s, turned(right), lefts_times(u, left), I, O, s_.slots, true);
    }

   protected:
    Segment<T>& s_;
    const int I, O;
    Rows<T> rights_turned_, similar_, scaled_inputs_, scaled_lefts_;

    // Coordinates that token i reads with: those after its write, or before it.
    T* of_read(const Rows<T>& all, int i) const { return all[s_.call.read == BEFORE ? i : i + 1]; }

    // x_t . r_i.
    void similarities(const Rows<T>& x, const Rows<T>& right) {
        transpose(rights_turned_[0], rights_turned_.width, right[0], right.width, s_.slots, I);
        product(similar_, straight(x), rights_turned_, s_.tokens, s_.slots, I, false, s_.wanted());
    }

    // What token i does not see yet counts as nothing, whatever stands there.
    void hide(const Rows<T>& of_slots, int i) const {
        std::fill(of_slots[i] + s_.seen_by(i), of_slots[i] + s_.slots, T(0));
    }

    // Inputs times the coordinate of S or M that their tokens read with.
    Left<T> inputs_times(int coordinate, const Rows<T>& x) {
        for (int i = 0; i < s_.tokens; ++i) scale_to(scaled_inputs_[i], of_read(s_.W, i)[coordinate], x[i], I);
        return straight(scaled_inputs_);
    }

    Rows<T> lefts_times(const T* coordinates, const Rows<T>& left) {
        for (int j = 0; j < s_.slots; ++j) scale_to(scaled_lefts_[j], coordinates[j], left[j], O);
        return scaled_lefts_;
    }
};

template <class T>
class MixedBack : public Mixed<T> {
    using Base = Mixed<T>;
    using Base::I, Base::inputs_times, Base::O, Base::of_read, Base::s_, Base::scaled_inputs_, Base::similar_;

   public:
    MixedBack(Segment<T>& segment, int inputs, int outputs, Workspace<T>& work)
        : Base(segment, inputs, outputs, work),
          mixed_(work.rows(s_.most, s_.most_slots)),
          d_mixed_(work.rows(s_.most, s_.most_slots)),
          lefts_turned_(work.rows(O, s_.most_slots)),
          back_(work.rows(s_.most_slots, I)),
          upright_(work.rows(O, I)) {}

    // The transpose of a matrix held with a row for each input.
    Rows<T> upright(const Rows<T>& m) {
        transpose(upright_[0], upright_.width, m[0], m.width, I, O);
        return upright_;
    }

    // M and S that go through a segment as they came: sets the gradients before it from those after.
    void carried_back(const Held<T>& held, const Held<T>& d_after, const Held<T>& d_before) {
        const T *w = s_.W[s_.tokens], *u = s_.U[s_.tokens];
        const T of_m = w[s_.of_m()], of_s = w[s_.of_s()], kept = u[s_.of_s()];
        T d_of_m = 0, d_of_s = 0, d_kept = 0;
        for (int i = 0; i < I; ++i) {
            const T *__restrict dm = d_after.m[i], *__restrict ds = d_after.s[i];
            const T *__restrict m = held.m[i], *__restrict s = held.s[i];
            T *__restrict dm_before = d_before.m[i], *__restrict ds_before = d_before.s[i];
#pragma omp simd reduction(+ : d_of_m, d_of_s, d_kept)
            for (int j = 0; j < O; ++j) {
                d_of_m += dm[j] * m[j];
                d_of_s += dm[j] * s[j];
                d_kept += ds[j] * s[j];
                dm_before[j] = of_m * dm[j];
                ds_before[j] = of_s * dm[j] + kept * ds[j];
            }
        }
        s_.dW[s_.tokens][s_.of_m()] += d_of_m;
        s_.dW[s_.tokens][s_.of_s()] += d_of_s;
        s_.dU[s_.tokens][s_.of_s()] += d_kept;
    }

    // Sets the gradients of inputs and of both factors, and adds to those of M, S and the coordinates.
    void read_back(const Rows<T>& d_y, const Rows<T>& d_x, const Rows<T>& d_right, const Rows<T>& d_left,
                   const Rows<T>& x, const Rows<T>& right, const Rows<T>& left, const Held<T>& held,
                   const Held<T>& d_before) {
        this->similarities(x, right);
        transpose(lefts_turned_[0], lefts_turned_.width, left[0], left.width, s_.slots, O);
        product(d_mixed_, straight(d_y), lefts_turned_, s_.tokens, s_.slots, O, false, s_.wanted());
        for (int i = 0; i < s_.tokens; ++i) {
            const T *__restrict w = of_read(s_.W, i), *__restrict p = similar_[i];
            T *__restrict c = mixed_[i], *__restrict dc = d_mixed_[i], *__restrict dw = of_read(s_.dW, i);
#pragma omp simd
            for (int j = 0; j < s_.seen_by(i); ++j) {
                c[j] = p[j] * w[j];
                dw[j] += dc[j] * p[j];
                dc[j] *= w[j];
            }
            this->hide(mixed_, i), this->hide(d_mixed_, i);
        }
        product(d_left, turned(mixed_), d_y, s_.slots, O, s_.tokens, false, s_.seeing());
        product(d_x, straight(d_mixed_), right, s_.tokens, I, s_.slots, false, s_.seen());
        product(d_right, turned(d_mixed_), x, s_.slots, I, s_.tokens, false, s_.seeing());
        held_back(s_.of_m(), d_y, d_x, x, held.m, d_before.m);
        held_back(s_.of_s(), d_y, d_x, x, held.s, d_before.s);
    }

    // What a segment wrote into M and S.
    void write_back(const Rows<T>& d_right, const Rows<T>& d_left, const Rows<T>& right, const Rows<T>& left,
                    const Held<T>& d_after) {
        written_back(s_.W[s_.tokens], s_.dW[s_.tokens], d_right, d_left, right, left, d_after.m);
        written_back(s_.U[s_.tokens], s_.dU[s_.tokens], d_right, d_left, right, left, d_after.s);
    }

   private:
    Rows<T> mixed_, d_mixed_, lefts_turned_, back_, upright_;

    // The share of M or S in reads.
    void held_back(int coordinate, const Rows<T>& d_y, const Rows<T>& d_x, const Rows<T>& x, const Rows<T>& m,
                   const Rows<T>& d_m) {
        product(back_, straight(d_y), upright(m), s_.tokens, I, O);
        for (int i = 0; i < s_.tokens; ++i) {
            of_read(s_.dW, i)[coordinate] += dot(back_[i], x[i], I);
            add_scaled(d_x[i], of_read(s_.W, i)[coordinate], back_[i], I);
        }
        inputs_times(coordinate, x);
        product(d_m, turned(scaled_inputs_), d_y, I, O, s_.tokens, true);
    }

    void written_back(const T* coordinates, T* d_coordinates, const Rows<T>& d_right, const Rows<T>& d_left,
                      const Rows<T>& right, const Rows<T>& left, const Rows<T>& d_m) {
        for (int j = 0; j < s_.slots; ++j) scale_to(scaled_inputs_[j], coordinates[j], right[j], I);
        product(d_left, straight(scaled_inputs_), d_m, s_.slots, O, I, true);
        product(back_, straight(left), upright(d_m), s_.slots, I, O);
        for (int j = 0; j < s_.slots; ++j) {
            d_coordinates[j] += dot(back_[j], right[j], I);
            add_scaled(d_right[j], coordinates[j], back_[j], I);
        }
    }
};

}  // namespace kernels

// float16 on the host, with F16C.
#include <immintrin.h>

struct __half {
    uint16_t bits;
    __half() = default;
    explicit __half(float value) : bits(_cvtss_sh(value, 0)) {}
    explicit operator float() const { return _cvtsh_ss(bits); }
};

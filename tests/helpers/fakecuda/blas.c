// A simulated cuBLAS: products are only counted.
__attribute__((weak)) long fake_products = 0;
static long anything = 1;

#define PRODUCTS \
    X(CgemmBatched) X(CgemmStridedBatched) X(Cgemm_v2) X(Cgemv_v2) X(DgemmBatched) X(DgemmStridedBatched) \
    X(Dgemm_v2) X(Dgemv_v2) X(GemmEx) X(GemmStridedBatchedEx) X(SgemmBatched) X(SgemmEx) X(SgemmStridedBatched) \
    X(Sgemm_v2) X(Sgemv_v2) X(ZgemmBatched) X(ZgemmStridedBatched) X(Zgemm_v2) X(Zgemv_v2)
#define OTHERS \
    X(Caxpy_v2) X(Cdgmm) X(Cdotc_v2) X(Cdotu_v2) X(Cgeam) X(Cgerc_v2) X(Cgeru_v2) X(CgetrfBatched) X(CgetriBatched) \
    X(CgetrsBatched) X(Cscal_v2) X(Csscal_v2) X(Csyrk_v2) X(CtrsmBatched) X(Ctrsm_v2) X(Dasum_v2) X(Daxpy_v2) \
    X(Ddgmm) X(Ddot_v2) X(Destroy_v2) X(Dgeam) X(Dger_v2) X(DgetrfBatched) X(DgetriBatched) X(DgetrsBatched) \
    X(Dnrm2_v2) X(Dsbmv_v2) X(Dscal_v2) X(Dsyrk_v2) X(Dtpttr) X(DtrsmBatched) X(Dtrsm_v2) X(Dtrttp) X(Dzasum_v2) \
    X(Dznrm2_v2) X(Icamax_v2) X(Icamin_v2) X(Idamax_v2) X(Idamin_v2) X(Isamax_v2) X(Isamin_v2) X(Izamax_v2) \
    X(Izamin_v2) X(Sasum_v2) X(Saxpy_v2) X(Scasum_v2) X(Scnrm2_v2) X(Sdgmm) X(Sdot_v2) X(SetMathMode) \
    X(SetPointerMode_v2) X(SetStream_v2) X(Sgeam) X(Sger_v2) X(SgetrfBatched) X(SgetriBatched) X(SgetrsBatched) \
    X(Snrm2_v2) X(Ssbmv_v2) X(Sscal_v2) X(Ssyrk_v2) X(Stpttr) X(StrsmBatched) X(Strsm_v2) X(Strttp) X(Zaxpy_v2) \
    X(Zdgmm) X(Zdotc_v2) X(Zdotu_v2) X(Zdscal_v2) X(Zgeam) X(Zgerc_v2) X(Zgeru_v2) X(ZgetrfBatched) X(ZgetriBatched) \
    X(ZgetrsBatched) X(Zscal_v2) X(Zsyrk_v2) X(ZtrsmBatched) X(Ztrsm_v2) X(SetWorkspace_v2)

#define X(name) int cublas##name() { fake_products++; return 0; }
PRODUCTS
#undef X
#define X(name) int cublas##name() { return 0; }
OTHERS
#undef X

int cublasCreate_v2(void** handle) { *handle = &anything; return 0; }
int cublasGetMathMode(void* handle, int* mode) { *mode = 0; return 0; }
int cublasGetPointerMode_v2(void* handle, int* mode) { *mode = 0; return 0; }
int cublasGetStream_v2(void* handle, void** stream) { *stream = 0; return 0; }
int cublasGetVersion_v2(void* handle, int* version) { *version = 130000; return 0; }
